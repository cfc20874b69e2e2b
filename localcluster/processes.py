"""Child processes that never outlive us, and ports that are free."""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


LOWEST_PORT: Final = 10_000
PORTS: Final = 22_000
"""Below 32768, from where the kernel takes the near ends of connections: a server that is stopped finds its port free
again, and PostgreSQL can keep the address of a Temporal member (a 16-bit integer with a sign)."""
_candidates: Final = itertools.count(os.getpid() * 701)
"""Processes side by side begin far from each other."""


def output_of(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    stdin: str = "",
    seconds: float = 60.0,
    folder: Path | None = None,
) -> str:
    """What a program prints until it ends.

    Raises:
        RuntimeError: it failed; the message has its name, its first words and what it said.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        env=environment,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        called = " ".join([Path(words[0]).name, *words[1:5]])
        raise RuntimeError(f"{called}: {done.stderr.strip()} {done.stdout.strip()}".strip())
    return done.stdout


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on, and that this process has not handed out before."""
    for candidate in itertools.islice(_candidates, PORTS):
        port = LOWEST_PORT + candidate % PORTS
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no port from {LOWEST_PORT} to {LOWEST_PORT + PORTS} is free")


class Process:
    """One child with its log. On Linux the kernel ends it when we die, even by SIGKILL. `user`: see `subprocess`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        logs: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                user=user,
                start_new_session=True,  # Ctrl-C reaches us first, and we end them in order
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def wait(self, seconds: float = 30.0) -> int:
        """Wait until it ends by itself. Returns the exit status."""
        return self._child.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, as a lost machine would."""
        self._child.kill()
        self._child.wait()

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open, and nothing is said on them, until it is thawed."""
        self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._child.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM, without waiting for the end."""
        self._child.terminate()

    def stop(self, patience: float = 10.0) -> int:
        """SIGTERM, then SIGKILL after `patience` seconds. Returns the exit status."""
        if self.alive:
            self._child.terminate()
            try:
                self._child.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._child.returncode

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def wait_until(
    true: Callable[[], object],
    what: str | Callable[[], str],
    process: Process | None = None,
    seconds: float = 60.0,
    every: float = 0.02,
) -> float:
    """Wait for a condition, looking again after `every` seconds. Returns how many seconds it took.

    Raises:
        RuntimeError: the time is over, or the process it depends on has ended; with the end of its log.
    """
    began = time.monotonic()
    while not true():
        if process is not None and not process.alive:
            raise RuntimeError(f"{process.name} ended while waiting for {_text(what)}:\n{process.tail()}")
        if time.monotonic() - began > seconds:
            log = f":\n{process.tail()}" if process is not None else ""
            raise RuntimeError(f"{_text(what)} did not happen within {seconds:.0f} s{log}")
        time.sleep(every)
    return time.monotonic() - began


def _text(what: str | Callable[[], str]) -> str:
    return what if isinstance(what, str) else what()


def own_folder(parent: Path, prefix: str) -> Path:
    """A new folder of this process. Those of runs that were killed are removed: their processes died with them."""
    for folder in parent.glob(f"{prefix}-*"):
        owner = folder.name.removeprefix(f"{prefix}-").split("-")[0]
        if owner.isdigit() and not alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}-{os.getpid()}-", dir=parent))


def alive(pid: int) -> bool:
    """Whether a process of that number exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def probe(url: str) -> tuple[int, str]:
    """Status and body of a GET; 0 and the reason where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except OSError as error:
        return 0, str(error)


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((host, port)) == 0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        os._exit(1)  # the parent died in between
