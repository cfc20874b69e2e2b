"""Starts etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok, and one faked node.

RBAC is on; each component has a user of its own, so audit logs and metrics tell who asked for what. Pods become
ready because kwok says so; the calls that their webhooks get are really made (webhooks.py).
"""

import json
import secrets
import shutil
import socket
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from localcluster.binaries import binary
from localcluster.connection import Connection
from localcluster.etcd import Etcd
from localcluster.processes import Process, free_port, listens, own_folder, probe, wait_until
from localcluster.started import Started
from localcluster.webhooks import WebhookRoute
from models.names import KYMA_NAMESPACE, WEBHOOK_CERT_SECRET

CHECKOUT: Final = Path(__file__).parent.parent
STATE: Final = CHECKOUT / ".local"
"""Each run's files are below this git-ignored folder, and are removed when it ends."""
USERS: Final = ("admin", "kube-controller-manager", "kube-scheduler", "kwok", "btp-worker", "btp-trigger")
NODE: Final = "local-node"
TOKEN_SECONDS: Final = 365 * 86_400
"""For which a ServiceAccount's token holds: nobody renews it while `make up` runs."""
CRD: Final = CHECKOUT / "chart" / "btp-manager" / "crds" / "btpoperators.yaml"


class ControlPlane(Started):
    """A Kubernetes API with everything behind it. `with ControlPlane() as cluster: cluster.kubeconfig()`."""

    def __init__(self, pod_delay: float = 0.0, audit: bool = False, controllers_limit: int = 10) -> None:
        """Args:
        pod_delay: seconds a pod takes to become ready.
        audit: write each request of a ServiceAccount to `audit_log`.
        controllers_limit: how many times its default rate of requests kube-controller-manager may send (20 a second,
            30 at once).
        """
        self._pod_delay, self._audit = pod_delay, audit
        self._controllers_limit = controllers_limit
        STATE.mkdir(exist_ok=True)
        self.folder = own_folder(STATE, "cluster")
        self._tokens = {user: secrets.token_hex(16) for user in USERS}
        self._etcd_port, self._peer_port, self._port = free_port(), free_port(), free_port()
        self.webhooks = WebhookRoute(self._webhook_certificate)
        self._stack = ExitStack()
        self._apiserver: Process | None = None
        self._controllers: list[Process] = []

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def close(self) -> None:
        self._stack.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kubeconfig(self, user: str = "admin", via: str = "") -> Path:
        """A kubeconfig file for one of `USERS`; `via` is the address of a proxy in front of the API server."""
        path = self._kubeconfig_path(user, via)
        if not path.exists():
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "local",
                        "cluster": {"server": via or self.url, "certificate-authority": str(self.certificate)},
                    }
                ],
                "users": [{"name": user, "user": {"token": self._tokens[user]}}],
                "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
                "current-context": "local",
            }
            path.write_text(yaml.safe_dump(config))
        return path

    def _kubeconfig_path(self, user: str, via: str) -> Path:
        return self.folder / f"{user}{via.rpartition(':')[2]}.kubeconfig"

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", user: str = "admin"
    ) -> Any:
        """One request, for set-up as admin; raises urllib's errors."""
        data = json.dumps(body).encode() if body is not None else None
        return json.loads(self._send(method, path, data, content_type, user))

    def post_text(self, path: str, text: str) -> None:
        """Create an object from JSON that Python can neither write nor read."""
        self._send("POST", path, text.encode(), "application/json", "admin")

    @cached_property
    def _connection(self) -> Connection:
        """Made when it is needed: other kinds of control planes choose their address and folder later."""
        connection = Connection(self.url, self.certificate)
        self._stack.callback(connection.close)
        return connection

    def _send(self, method: str, path: str, data: bytes | None, content_type: str, user: str) -> bytes:
        headers = {"Authorization": f"Bearer {self._tokens[user]}", "Content-Type": content_type}
        return self._connection.request(method, path, data, headers)

    def service_account(self, namespace: str, name: str, via: str = "") -> Path:
        """A kubeconfig file with a token of that ServiceAccount (TokenRequest API)."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.request("POST", path, {"spec": {"expirationSeconds": TOKEN_SECONDS}})
        self._tokens[name] = answer["status"]["token"]
        self._kubeconfig_path(name, via).unlink(missing_ok=True)  # of an account of that name that was made before
        return self.kubeconfig(name, via)

    @property
    def audit_log(self) -> Path:
        """One JSON object a line (audit.k8s.io/v1 Event), if `audit` was asked for."""
        return self.folder / "audit.log"

    def stop_apiserver(self) -> None:
        """End the API server and keep its data: `start_apiserver` brings it back at the same address."""
        assert self._apiserver is not None
        self._apiserver.stop()

    def start_apiserver(self) -> None:
        """Start it, or bring it back. The controllers begin anew then: their own back-off, of up to minutes, would
        hide how soon the manager goes on."""
        wait_until(lambda: not listens(self._port), "the API server's port to be free")
        self._apiserver = self._run("kube-apiserver", self._apiserver_flags())
        self._wait_for_api(self._apiserver)
        if self._controllers:
            for controller in self._controllers:
                controller.stop()
            # The next kwok would wait until the node's lease of the one before has run out.
            self.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}")
            self._start_controllers()

    def freeze_apiserver(self) -> None:
        """The API server keeps its connections open and says nothing, until `thaw_apiserver`."""
        assert self._apiserver is not None
        self._apiserver.freeze()

    def thaw_apiserver(self) -> None:
        assert self._apiserver is not None
        self._apiserver.thaw()

    @property
    def etcd(self) -> Etcd:
        """Where the API server keeps its objects."""
        return Etcd(f"http://127.0.0.1:{self._etcd_port}")

    @property
    def certificate(self) -> Path:
        """The API server's own certificate, which is its CA too; its key lies beside it."""
        return self.folder / "certs" / "apiserver.crt"

    def _start(self) -> None:
        data = self.folder / "etcd"
        urls = f"http://127.0.0.1:{self._etcd_port}"
        peers = f"http://127.0.0.1:{self._peer_port}"
        etcd = self._run(
            "etcd",
            [
                "--data-dir",
                str(data),
                "--unsafe-no-fsync",
                "--log-level=error",
                "--listen-client-urls",
                urls,
                "--advertise-client-urls",
                urls,
                "--listen-peer-urls",
                peers,
                "--initial-advertise-peer-urls",
                peers,
                f"--initial-cluster=default={peers}",
            ],
        )
        self._write_keys()
        self._stack.enter_context(self.webhooks)
        wait_until(lambda: probe(f"{urls}/health")[0] == 200, "etcd to be healthy", etcd)
        self.start_apiserver()
        self._set_up_cluster()
        self._start_controllers()
        wait_until(self._node_ready, "the node to be ready")

    def _start_controllers(self) -> None:
        """kube-controller-manager, kube-scheduler and kwok."""
        manager = self._run(
            "kube-controller-manager",
            [
                f"--kubeconfig={self.kubeconfig('kube-controller-manager')}",
                "--controllers=*,-bootstrapsigner,-tokencleaner,-node-ipam-controller",
                f"--service-account-private-key-file={self.folder / 'sa.key'}",
                "--use-service-account-credentials=false",
                "--leader-elect=false",
                f"--kube-api-qps={20 * self._controllers_limit}",
                f"--kube-api-burst={30 * self._controllers_limit}",
                "--secure-port=0",
            ],
        )
        scheduler = self._run(
            "kube-scheduler",
            [
                f"--kubeconfig={self.kubeconfig('kube-scheduler')}",
                "--leader-elect=false",
                "--kube-api-qps=200",
                "--kube-api-burst=400",
                "--secure-port=0",
            ],
        )
        self._controllers = [manager, scheduler, self._kwok()]

    def _kwok(self) -> Process:
        stages = self.folder / "stages.yaml"
        stages.write_text((Path(__file__).parent / "stages.yaml").read_text() % self._stage_values())
        return self._run(
            "kwok",
            [
                "--kubeconfig",
                str(self.kubeconfig("kwok")),
                "--config",
                str(stages),
                "--manage-all-nodes=true",
                "--node-lease-duration-seconds=40",
            ],
        )

    def stop_node(self) -> None:
        """The node dies: nobody ends its pods, and after 40 s it counts as not ready."""
        self._controllers[-1].kill()

    def start_node(self) -> None:
        """The node is back at once, without waiting for its old lease to run out."""
        if self._controllers[-1].alive:
            return
        self.request("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}")
        self._controllers[-1] = self._kwok()

    def _stage_values(self) -> dict[str, object]:
        return {"delay": round(self._pod_delay * 1000), "ip": host_address()}

    def _run(self, name: str, flags: list[str]) -> Process:
        process = Process(name, [binary(name), *flags], self.folder, env={"HOME": str(self.folder), "PATH": ""})
        self._stack.callback(process.stop, 5.0)
        return process

    def _write_keys(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        (self.folder / "sa.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
        )
        rows = [f"{token},{user},{user},system:masters" for user, token in self._tokens.items()]
        (self.folder / "tokens.csv").write_text("\n".join(rows))

    def _apiserver_flags(self) -> list[str]:
        key = self.folder / "sa.key"
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder / 'certs'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--disable-admission-plugins=ServiceAccount",
            "--enable-aggregator-routing=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--max-requests-inflight=2000",
            f"--egress-selector-config-file={self._egress()}",
            *(self._audit_flags() if self._audit else ()),
        ]

    def _egress(self) -> Path:
        path = self.folder / "egress.yaml"
        path.write_text(yaml.safe_dump(self.webhooks.configuration()))
        return path

    def _webhook_certificate(self) -> dict[str, str] | None:
        try:
            found = self.request("GET", f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets/{WEBHOOK_CERT_SECRET}")
        except OSError:
            return None
        data: dict[str, str] = found["data"]
        return data

    def _audit_flags(self) -> list[str]:
        policy = self.folder / "audit.yaml"
        rules = [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]
        policy.write_text(yaml.safe_dump({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
        return [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"]

    def _wait_for_api(self, process: Process) -> None:
        def ready() -> bool:
            try:
                self.request("GET", "/api/v1/namespaces/default")
                return bool(self.request("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin"))
            except OSError:
                return False

        wait_until(ready, "the API server to be ready", process)

    def _set_up_cluster(self) -> None:
        """What Kyma's installation brings: namespace, PriorityClass, and the module's CRD. And a node."""
        node = {
            "metadata": {
                "name": NODE,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/os": "linux"},
            },
            "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "500"}},
        }
        priority = {"metadata": {"name": "kyma-system"}, "value": 2000000}
        for path, body in (
            ("/api/v1/namespaces", {"metadata": {"name": "kyma-system"}}),
            ("/apis/scheduling.k8s.io/v1/priorityclasses", priority),
            ("/api/v1/nodes", node),
            ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(CRD.read_text())),
        ):
            self.request("POST", path, body)

    def _node_ready(self) -> bool:
        conditions = self.request("GET", f"/api/v1/nodes/{NODE}")["status"].get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def host_address() -> str:
    """An address of this machine that is not a loopback one, for pods: the API refuses loopback endpoints.

    No packet is sent: connecting a UDP socket only chooses the address that would be used.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737)
            address: str = probe.getsockname()[0]
        except OSError:
            return "192.0.2.2"
    return "192.0.2.2" if address.startswith("127.") else address
