"""Runs a command apart from the rest of the machine, as root.

A real node needs firewall rules, routes, kernel settings, mounts and daemons. The command gets namespaces of its own
for network, mounts and processes, so that none of this is seen outside, and all of it is gone when the command ends,
even by SIGKILL. What namespaces do not divide is handled here: kernel settings that a kubelet would change are shadowed
by files, and the control groups that it makes are removed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from localcluster.controlplane import STATE

HOST: Final = "10.99.0.1"
"""The node's address: this machine's in the namespace, on a wire that leads nowhere."""
APART: Final = "BTP_TEST_NODE"
"""Variable that says to a command that it runs apart; its value is the name of its control group."""
NAMESPACES: Final = ("unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc")
"""The command line in front of what runs apart."""
SHADOWED: Final = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""Settings of the whole machine which a kubelet wants, so that it finds them and changes none."""


def missing(programs: Mapping[str, str]) -> str:
    """What this machine lacks for a run apart, in one sentence; empty if nothing.

    Args:
        programs: what must be on PATH or at a path, and the Debian package that brings it.
    """
    if sys.platform != "linux":
        return "this needs Linux"
    if os.geteuid():
        return "this needs root"
    packages = {package for program, package in programs.items() if not shutil.which(program)}
    if packages:
        return f"this needs these packages: {' '.join(sorted(packages))}"
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return f"this needs a root that may make namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def outside(folder: Path, command: list[str]) -> int:
    """Run the command apart, with `folder` in the place of STATE. Returns its exit status."""
    group = f"btp-node-{os.getpid()}"
    child = subprocess.Popen(
        [
            *NAMESPACES,
            *(sys.executable, "-m", "localcluster.apart", str(folder), *command),
        ],
        env={**os.environ, APART: group},
    )

    def forward(number: int, _: FrameType | None) -> None:
        child.send_signal(signal.SIGTERM if number == signal.SIGTERM else signal.SIGINT)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal has told the child too
    try:
        return child.wait()
    finally:
        _remove_groups(group)


def inside(folder: Path, command: list[str]) -> int:
    """The first process in the namespaces: lay the wire and the mounts, run the command, and reap what is orphaned."""
    for words in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "add", "node0", "type", "veth", "peer", "name", "node1"],
        ["ip", "address", "add", f"{HOST}/24", "dev", "node0"],
        ["ip", "link", "set", "node0", "up"],
        ["ip", "link", "set", "node1", "up"],
        ["ip", "route", "add", "default", "dev", "node0"],
        ["mount", "--bind", str(folder), str(STATE)],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
    ):
        subprocess.run(words, check=True)
    _overlay("/var")
    for name, value in SHADOWED.items():
        setting = Path("/proc/sys", name)
        shadow = Path("/run", name.replace("/", "."))
        shadow.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", shadow, setting], check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    child = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) % 256


def _overlay(top: str) -> None:
    """Let everything below `top` be written without a trace."""
    scratch = Path(tempfile.mkdtemp(dir="/run"))
    for name in ("upper", "work"):
        (scratch / name).mkdir()
    options = f"lowerdir={top},upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", top], check=True)


def _remove_groups(group: str) -> None:
    """Remove the control groups of that name, innermost first; their processes have just been killed."""
    for top in Path("/sys/fs/cgroup").glob(f"**/{group}"):
        for folder in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
            for _ in range(50):
                with contextlib.suppress(FileNotFoundError, OSError):
                    folder.rmdir()
                if not folder.exists():
                    break
                time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(inside(Path(sys.argv[1]), sys.argv[2:]))
