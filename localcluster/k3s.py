"""A stand-in for k3s as a container's command, for machines that cannot pull its image or run privileged containers.

The local control plane with what docker-compose.yml relies on: its data, keys and kubeconfig where k3s has them, so
that they outlive the container; the port; the manifests of a folder, applied at start; and `k3s` in its certificate.
Pods are faked, and no operand acts.
"""

import base64
import contextlib
import ipaddress
import json
import shutil
import signal
import subprocess
import threading
import urllib.error
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localcluster.binaries import binary
from localcluster.controlplane import NODE, ControlPlane

KEPT: Final = Path("/var/lib/rancher/k3s")
MANIFESTS: Final = KEPT / "server" / "manifests"
KUBECONFIG: Final = Path("/etc/rancher/k3s/k3s.yaml")
PORT: Final = 6443
NAMES: Final = ("k3s", "localhost")


class K3s(ControlPlane):
    """Goes on with what an earlier container left."""

    def __init__(self) -> None:
        super().__init__()
        shutil.rmtree(self.folder)
        self.folder = KEPT / "stand-in"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port = PORT
        tokens = self.folder / "tokens.json"
        if tokens.exists():
            self._tokens = json.loads(tokens.read_text())
        tokens.write_text(json.dumps(self._tokens))

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> None:
        if not self.certificate.exists():
            self.certificate.parent.mkdir(exist_ok=True)
            self._write_certificate()
        super()._start()
        config = yaml.safe_load(self.kubeconfig().read_text())
        authority = base64.b64encode(self.certificate.read_bytes()).decode()
        config["clusters"][0]["cluster"] = {"server": self.url, "certificate-authority-data": authority}
        KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
        KUBECONFIG.write_text(yaml.safe_dump(config))

    def _write_keys(self) -> None:
        if not (self.folder / "sa.key").exists():
            super()._write_keys()

    def _write_certificate(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMES[0])])
        now = datetime.now(UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.SubjectAlternativeName([*map(x509.DNSName, NAMES), loopback]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.certificate.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )

    def _apiserver_flags(self) -> list[str]:
        kept = [flag for flag in super()._apiserver_flags() if not flag.startswith("--bind-address=")]
        pair = [f"--tls-cert-file={self.certificate}", f"--tls-private-key-file={self.certificate.with_suffix('.key')}"]
        return [*kept, "--bind-address=0.0.0.0", *pair]

    def _set_up_cluster(self) -> None:
        node = {
            "metadata": {"name": NODE, "annotations": {"kwok.x-k8s.io/node": "fake"}},
            "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "500"}},
        }
        with contextlib.suppress(urllib.error.HTTPError):  # an earlier container has made it
            self.request("POST", "/api/v1/nodes", node)
        with contextlib.suppress(urllib.error.HTTPError):
            self.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}")
        for path in sorted(MANIFESTS.glob("*.yaml"), reverse=True):
            subprocess.run(
                [str(binary("kubectl")), "apply", "--server-side", "--filename", str(path)],
                env={"KUBECONFIG": str(self.kubeconfig()), "HOME": str(self.folder)},
                check=True,
            )


if __name__ == "__main__":
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with K3s():
        stop.wait()
