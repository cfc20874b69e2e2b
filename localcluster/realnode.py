"""A real node beside the control plane, with kube-proxy, enforced NetworkPolicies and a DNS server; a second on demand.

Only within `localcluster.apart`: it listens on fixed addresses, and writes firewall rules. Images are handed to
containerd, which pulls nothing.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from localcluster.apart import HOST
from localcluster.binaries import binary
from localcluster.controlplane import ControlPlane
from localcluster.machine import DNS, DOMAIN, PODS, Machine
from localcluster.processes import Process, output_of, wait_until

NAME: Final = "node"
SECOND: Final = "second"
TEMPORAL: Final = "10.96.0.20"
"""Addresses of two Services, from the part of their range that is not handed out by itself."""
TEMPORAL_PORT: Final = 7233
PORT: Final = 6443
SERVICES: Final = "10.96.0.0/16"
SILENT: Final = 30
"""Seconds after which a node that says nothing counts as not ready. Kubernetes' default is 50."""
LEFT: Final = 10
"""Seconds that a pod stays on such a node. Kubernetes' default is 300."""


class RealNode(ControlPlane):
    """The same control plane with one node that runs containers.

    Args:
        archives: images, a tar file each.
    """

    def __init__(self, archives: list[Path]) -> None:
        super().__init__()
        self._port = PORT
        self._path = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        self._archives = archives
        self._machine: Machine | None = None

    @property
    def url(self) -> str:
        return f"https://{HOST}:{PORT}"

    def kubectl(self, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        """What kubectl prints, as the administrator.

        Raises:
            RuntimeError: it failed; the message is kubectl's.
        """
        variables = {**self._path, "KUBECONFIG": str(self.kubeconfig())}
        return output_of([binary("kubectl"), *arguments], variables, stdin, seconds)

    def kill_container(self, pod: str) -> None:
        """SIGKILL to the first process of every container of that pod of kyma-system."""
        assert self._machine is not None
        found = json.loads(self.kubectl("-n", "kyma-system", "get", "pod", pod, "-o", "json"))
        for status in found["status"]["containerStatuses"]:
            identity = status["containerID"].removeprefix("containerd://")
            self._machine.ctr("tasks", "kill", "--signal", "SIGKILL", identity)

    @contextmanager
    def second(self) -> Iterator[Machine]:
        """Another node, which may die. NetworkPolicies are not enforced on it. It is forgotten afterwards."""
        machine = self._start_machine(SECOND, 1)
        try:
            wait_until(lambda: self.ready(SECOND), "the second node to be ready")
            yield machine
        finally:
            machine.stop()
            self.kubectl("delete", "node", SECOND, "--wait=false")

    def _start_machine(self, name: str, number: int) -> Machine:
        machine = Machine(name, number, self.folder, self.kubeconfig())
        self._stack.callback(machine.stop)
        machine.start()
        for archive in self._archives:
            machine.ctr("images", "import", str(archive))
        return machine

    def _apiserver_flags(self) -> list[str]:
        changed = ("--bind-address=", "--disable-admission-plugins=", "--endpoint-reconciler", "--egress-selector")
        kept = [flag for flag in super()._apiserver_flags() if not flag.startswith(changed)]
        own = ["--bind-address=0.0.0.0", f"--advertise-address={HOST}", "--kubelet-preferred-address-types=InternalIP"]
        own += [f"--default-{taint}-toleration-seconds={LEFT}" for taint in ("not-ready", "unreachable")]
        return [*kept, *own]

    def _start_controllers(self) -> None:
        manager = self._run(
            "kube-controller-manager",
            [
                f"--kubeconfig={self.kubeconfig('kube-controller-manager')}",
                "--controllers=*,-bootstrapsigner,-tokencleaner,-node-ipam-controller,-service-lb-controller",
                f"--service-account-private-key-file={self.folder / 'sa.key'}",
                f"--root-ca-file={self.certificate}",
                "--use-service-account-credentials=false",
                "--leader-elect=false",
                f"--node-monitor-grace-period={SILENT}s",
                "--secure-port=0",
            ],
        )
        scheduler = self._run(
            "kube-scheduler",
            [f"--kubeconfig={self.kubeconfig('kube-scheduler')}", "--leader-elect=false", "--secure-port=0"],
        )
        self._controllers = [manager, scheduler]
        self._machine = self._start_machine(NAME, 0)
        self._start_proxy()
        self._start_dns()
        wait_until(lambda: self.ready(NAME), "the node to be ready")
        self._start_policies()

    def _daemon(self, name: str, command: list[str | Path]) -> Process:
        process = Process(name, command, self.folder, self._path)
        self._stack.callback(process.stop, 10.0)
        return process

    def _start_proxy(self) -> None:
        flags = [f"--kubeconfig={self.kubeconfig()}", "--proxy-mode=iptables", f"--cluster-cidr={PODS}"]
        flags += [f"--hostname-override={NAME}", "--oom-score-adj=0", "--conntrack-max-per-core=0"]
        flags += ["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"]
        self._daemon("kube-proxy", [binary("kube-proxy"), *flags])

    def _start_policies(self) -> None:
        """kube-router, of which only that is used which enforces NetworkPolicies."""
        flags = [f"--kubeconfig={self.kubeconfig()}", f"--hostname-override={NAME}", "--enable-cni=false"]
        flags += ["--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--health-port=0"]
        flags += [f"--service-cluster-ip-range={SERVICES}"]
        self._daemon("kube-router", [binary("kube-router"), *flags])

    def _start_dns(self) -> None:
        """Names of the Services that pods look up; a real cluster's DNS server follows them by itself."""
        names = {f"temporal-frontend.temporal.svc.{DOMAIN}": TEMPORAL, f"kubernetes.default.svc.{DOMAIN}": "10.96.0.1"}
        flags = ["--keep-in-foreground", "--no-resolv", "--no-hosts", f"--listen-address={HOST}", "--bind-interfaces"]
        flags += ["--user=root", "--pid-file", f"--local=/{DOMAIN}/"]
        flags += [f"--host-record={name},{address}" for name, address in names.items()]
        self._daemon("dnsmasq", [shutil.which("dnsmasq") or "dnsmasq", *flags])
        self.publish("kube-system", "kube-dns", DNS, {"dns": ("UDP", 53), "dns-tcp": ("TCP", 53)})

    def publish(self, namespace: str, name: str, address: str, ports: dict[str, tuple[str, int]]) -> None:
        """Make a Service at that address for what listens on the node itself."""
        described = [{"name": port, "protocol": kind, "port": number} for port, (kind, number) in ports.items()]
        service = {"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": described}}
        self.request("POST", f"/api/v1/namespaces/{namespace}/services", service)
        piece = {
            "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [HOST], "conditions": {"ready": True}}],
            "ports": described,
        }
        self.request("POST", f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", piece)

    def _set_up_cluster(self) -> None:
        """What Kyma's installation brings; the chart brings the CRD, and the kubelet the Node."""
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        for name, labels in (("kyma-system", restricted), ("temporal", {})):
            self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        priority = {"metadata": {"name": "kyma-system"}, "value": 2000000}
        self.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", priority)

    def _node_ready(self) -> bool:
        return self.ready(NAME)

    def ready(self, name: str) -> bool:
        """Whether that node says so."""
        try:
            conditions = self.request("GET", f"/api/v1/nodes/{name}")["status"].get("conditions") or []
        except OSError:
            return False  # the kubelet has not made it yet
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
