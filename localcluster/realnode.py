"""A real node beside the control plane: containerd, kubelet, kube-proxy, a bridge for pods, and a DNS server.

Only within `localcluster.apart`: it listens on fixed addresses, and writes firewall rules. Images are handed to
containerd, which pulls nothing.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.apart import APART, CNI, HOST
from localcluster.binaries import binary
from localcluster.controlplane import ControlPlane
from localcluster.processes import Process, wait_until

NAME: Final = "node"
PODS: Final = "10.244.0.0/24"
DNS: Final = "10.96.0.10"
TEMPORAL: Final = "10.96.0.20"
"""Addresses of two Services, from the part of their range that is not handed out by itself."""
TEMPORAL_PORT: Final = 7233
PORT: Final = 6443
SOCKET: Final = "/run/containerd/containerd.sock"
SANDBOX: Final = "localhost/pause:local"
DOMAIN: Final = "cluster.local"
GRACE: Final = 20
"""Seconds after which a silent node counts as not ready. Kubernetes' default is 50."""


class RealNode(ControlPlane):
    """The same control plane with one node that runs containers."""

    def __init__(self) -> None:
        super().__init__()
        self._port = PORT
        self._path = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        self._daemons: dict[str, Process] = {}

    @property
    def url(self) -> str:
        return f"https://{HOST}:{PORT}"

    def kubectl(self, *arguments: str, stdin: str = "", seconds: float = 60) -> str:
        """What kubectl prints, as the administrator.

        Raises:
            RuntimeError: it failed; the message is kubectl's.
        """
        done = subprocess.run(
            [str(binary("kubectl")), *arguments],
            env={**self._path, "KUBECONFIG": str(self.kubeconfig())},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments[:4])}: {done.stderr.strip()} {done.stdout.strip()}")
        return done.stdout

    def load(self, archive: Path) -> None:
        """Give the images of a tar file to containerd."""
        self._ctr("images", "import", str(archive))

    def die(self) -> None:
        """The node is lost: kubelet and containerd are killed, and every container with them."""
        self._daemons["kubelet"].kill()
        for line in self._ctr("tasks", "list").splitlines()[1:]:
            self._ctr("tasks", "kill", "--signal", "SIGKILL", line.split()[0])
        self._daemons["containerd"].kill()

    def come_back(self) -> None:
        """The node is started again, with what it has on its disk."""
        self._start_containerd()
        self._start_kubelet()

    def kill_container(self, pod: str) -> None:
        """SIGKILL to the first process of every container of that pod of kyma-system."""
        found = json.loads(self.kubectl("-n", "kyma-system", "get", "pod", pod, "-o", "json"))
        for status in found["status"]["containerStatuses"]:
            self._ctr("tasks", "kill", "--signal", "SIGKILL", status["containerID"].removeprefix("containerd://"))

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "--address", SOCKET, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode and "not found" not in done.stderr:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _apiserver_flags(self) -> list[str]:
        changed = ("--bind-address=", "--disable-admission-plugins=", "--endpoint-reconciler", "--egress-selector")
        kept = [flag for flag in super()._apiserver_flags() if not flag.startswith(changed)]
        own = ["--bind-address=0.0.0.0", f"--advertise-address={HOST}", "--kubelet-preferred-address-types=InternalIP"]
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
                f"--node-monitor-grace-period={GRACE}s",
                "--secure-port=0",
            ],
        )
        scheduler = self._run(
            "kube-scheduler",
            [f"--kubeconfig={self.kubeconfig('kube-scheduler')}", "--leader-elect=false", "--secure-port=0"],
        )
        self._controllers = [manager, scheduler]
        self._start_containerd()
        self._start_kubelet()
        self._start_proxy()
        self._start_dns()

    def _daemon(self, name: str, command: list[str | Path]) -> Process:
        process = Process(name, command, self.folder, self._path)
        self._stack.callback(process.stop, 10.0)
        self._daemons[name] = process
        return process

    def _start_containerd(self) -> None:
        networks = self.folder / "cni"
        networks.mkdir(exist_ok=True)
        (networks / "10-pods.conflist").write_text(json.dumps(_pod_network()))
        config = self.folder / "containerd.toml"
        config.write_text(f"""version = 2
root = "{self.folder}/containerd"
state = "/run/containerd"
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI}"
conf_dir = "{networks}"
""")
        process = self._daemon("containerd", [shutil.which("containerd") or "containerd", "--config", config])
        wait_until(lambda: Path(SOCKET).is_socket() and self._answers(), "containerd to answer", process)

    def _answers(self) -> bool:
        try:
            return bool(self._ctr("version"))
        except RuntimeError:
            return False

    def _start_kubelet(self) -> None:
        group = os.environ[APART]
        for controller in Path("/sys/fs/cgroup").iterdir():
            if (controller / "cgroup.procs").is_file():
                (controller / group).mkdir(exist_ok=True)
        resolv = self.folder / "resolv.conf"
        resolv.write_text(f"nameserver {HOST}\n")
        config = self.folder / "kubelet.yaml"
        config.write_text(yaml.safe_dump(_kubelet(group, resolv)))
        flags = [f"--config={config}", f"--kubeconfig={self.kubeconfig()}", f"--node-ip={HOST}"]
        flags += [f"--hostname-override={NAME}", f"--root-dir={self.folder / 'kubelet'}"]
        self._daemon("kubelet", [binary("kubelet"), *flags])

    def _start_proxy(self) -> None:
        flags = [f"--kubeconfig={self.kubeconfig()}", "--proxy-mode=iptables", f"--cluster-cidr={PODS}"]
        flags += [f"--hostname-override={NAME}", "--oom-score-adj=0", "--conntrack-max-per-core=0"]
        flags += ["--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"]
        self._daemon("kube-proxy", [binary("kube-proxy"), *flags])

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
        return self.ready()

    def ready(self) -> bool:
        """Whether the node counts as ready."""
        try:
            conditions = self.request("GET", f"/api/v1/nodes/{NAME}")["status"].get("conditions") or []
        except OSError:
            return False  # the kubelet has not made it yet
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _pod_network() -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(group: str, resolv: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},  # nobody reaches this port but from the node's own namespace
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{group}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,  # a machine may forbid to lower it
        "clusterDNS": [DNS],
        "clusterDomain": DOMAIN,
        "resolvConf": str(resolv),
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "enforceNodeAllocatable": ["none"],
        "evictionHard": dict.fromkeys(
            ("memory.available", "nodefs.available", "imagefs.available", "nodefs.inodesFree", "imagefs.inodesFree"),
            "0%",
        ),
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "2s",
    }
