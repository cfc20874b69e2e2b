"""One machine of a real node: containerd, the kubelet, and a bridge for its pods.

Only within `localcluster.apart`. Several machines share its network and its firewall, and each has an address, a range
of pods and files of its own. Images are handed to containerd, which pulls nothing.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.apart import APART, HOST
from localcluster.binaries import binary
from localcluster.processes import Process, wait_until

CNI: Final = Path("/usr/lib/cni")
PROGRAMS: Final = {
    "unshare": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "containerd": "containerd",
    "runc": "runc",
    "ctr": "containerd",
    "dnsmasq": "dnsmasq-base",
    "conntrack": "conntrack",
    "ipset": "ipset",
    str(CNI / "bridge"): "containernetworking-plugins",
}
"""What a node needs on PATH or at a path, and the Debian package that brings it."""
SANDBOX: Final = "localhost/pause:local"
PODS: Final = "10.244.0.0/16"
DNS: Final = "10.96.0.10"
DOMAIN: Final = "cluster.local"


class Machine:
    """Is started, and may die.

    Args:
        number: 0, 1 ...: the first has the address HOST, the next ones those that follow.
        folder: for its files.
    """

    def __init__(self, name: str, number: int, folder: Path, kubeconfig: Path) -> None:
        first, _, last = HOST.rpartition(".")
        self.name, self.address = name, f"{first}.{int(last) + number}"
        self.socket = f"/run/containerd-{number}/containerd.sock"
        self._number, self._folder, self._kubeconfig = number, folder / name, kubeconfig
        self._folder.mkdir(exist_ok=True)
        self._path = {"PATH": os.environ["PATH"], "HOME": str(self._folder)}
        self._bridge = f"pods{number}"
        self._daemons: list[Process] = []

    def start(self) -> None:
        """Return when containerd answers; the kubelet registers a Node later."""
        if self._number:
            subprocess.run(["ip", "address", "add", f"{self.address}/32", "dev", "node0"], check=True)
        networks = self._folder / "cni"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(self._pod_network()))
        config = self._folder / "containerd.toml"
        config.write_text(f"""version = 2
root = "{self._folder}/containerd"
state = "{Path(self.socket).parent}"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX}"
restrict_oom_score_adj = true
disable_apparmor = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI}"
conf_dir = "{networks}"
""")
        process = self._daemon("containerd", [shutil.which("containerd") or "containerd", "--config", config])
        wait_until(lambda: Path(self.socket).is_socket() and self._answers(), "containerd to answer", process)
        self._start_kubelet()

    def stop(self) -> None:
        for process in reversed(self._daemons):
            process.stop()

    def die(self) -> None:
        """As when somebody pulls the plug: nobody says goodbye on any connection, and nothing comes back."""
        subprocess.run(["ip", "link", "set", self._bridge, "down"], check=True)
        containerd, kubelet = self._daemons
        kubelet.kill()
        for line in self.ctr("tasks", "list").splitlines()[1:]:
            self.ctr("tasks", "kill", "--signal", "SIGKILL", line.split()[0])
        containerd.kill()

    def ctr(self, *arguments: str) -> str:
        """What containerd's own command line prints; what it does not find is fine.

        Raises:
            RuntimeError: it failed.
        """
        command = ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode and "not found" not in done.stderr:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _answers(self) -> bool:
        try:
            return bool(self.ctr("version"))
        except RuntimeError:
            return False

    def _daemon(self, name: str, command: list[str | Path]) -> Process:
        process = Process(name, command, self._folder, self._path)
        self._daemons.append(process)
        return process

    def _start_kubelet(self) -> None:
        group = f"{os.environ[APART]}/{self.name}"
        for controller in Path("/sys/fs/cgroup").iterdir():
            if (controller / "cgroup.procs").is_file():
                (controller / group).mkdir(parents=True, exist_ok=True)
        resolv = self._folder / "resolv.conf"
        resolv.write_text(f"nameserver {HOST}\n")
        config = self._folder / "kubelet.yaml"
        config.write_text(yaml.safe_dump(self._kubelet(group, resolv)))
        flags = [f"--config={config}", f"--kubeconfig={self._kubeconfig}", f"--node-ip={self.address}"]
        flags += [f"--hostname-override={self.name}", f"--root-dir={self._folder / 'kubelet'}"]
        self._daemon("kubelet", [binary("kubelet"), *flags])

    def _pod_network(self) -> dict[str, Any]:
        own = PODS.replace(".0.0/16", f".{self._number}.0/24")
        addresses = {"type": "host-local", "ranges": [[{"subnet": own}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": self._bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
        return {"cniVersion": "0.4.0", "name": self._bridge, "plugins": [bridge]}

    def _kubelet(self, group: str, resolv: Path) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.address,
            "port": 10250 + 10 * self._number,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},  # nobody reaches this port but from the node's own namespace
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{group}",
            "podLogsDir": str(self._folder / "logs"),
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,  # a machine may forbid to lower it
            "clusterDNS": [DNS],
            "clusterDomain": DOMAIN,
            "resolvConf": str(resolv),
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "enforceNodeAllocatable": ["none"],
            "evictionHard": dict.fromkeys(
                (
                    "memory.available",
                    "nodefs.available",
                    "imagefs.available",
                    "nodefs.inodesFree",
                    "imagefs.inodesFree",
                ),
                "0%",
            ),
            "imageGCHighThresholdPercent": 100,
            "nodeStatusUpdateFrequency": "2s",
        }
