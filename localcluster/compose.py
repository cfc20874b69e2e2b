"""docker's engine and docker compose, of our own, for docker-compose.yml. Only within `localcluster.apart`."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from localcluster.apart import APART
from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from localcluster.processes import Process, output_of, own_folder, wait_until
from localcluster.started import Started

SOCKET: Final = "unix:///run/docker.sock"
FILES: Final = (CHECKOUT / "docker-compose.yml", CHECKOUT / "tests" / "compose" / "override.yaml")


class Compose(Started):
    """An engine with these images, and the services of docker-compose.yml.

    Args:
        archives: images, as `docker load` reads them.
    """

    def __init__(self, archives: Sequence[Path], state: Path) -> None:
        self._archives = archives
        self._folder = own_folder(state, "engine")
        self._environment = {**os.environ, "DOCKER_HOST": SOCKET, "HOME": str(self._folder)}
        self._engine: Process | None = None

    def _start(self) -> None:
        self.start_engine()
        for archive in self._archives:
            self.docker("load", "--input", str(archive))

    def close(self) -> None:
        if self._engine and self._engine.alive:
            self.compose("down", "--volumes", "--timeout", "5")
            self._engine.stop(30.0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_engine(self) -> None:
        flags = ["--host", SOCKET, "--data-root", str(self._folder / "data"), "--exec-root", "/run/docker-own"]
        flags += ["--pidfile", "/run/dockerd.pid", "--cgroup-parent", f"/{os.environ[APART]}"]
        self._engine = Process("dockerd", [shutil.which("dockerd") or "dockerd", *flags], self._folder)
        wait_until(self._answers, "docker's engine to answer", self._engine)

    def stop_engine(self) -> None:
        """As a reboot does: every container ends with it."""
        assert self._engine is not None
        self._engine.stop(60.0)

    def compose(self, *arguments: str, stdin: str = "", seconds: float = 300) -> str:
        """What `docker compose` prints.

        Raises:
            RuntimeError: it failed; the message is what it says.
        """
        files = [word for path in FILES for word in ("--file", str(path))]
        return self._run(str(binary("docker-compose")), *files, *arguments, stdin=stdin, seconds=seconds)

    def docker(self, *arguments: str) -> str:
        return self._run("/usr/bin/docker", *arguments)

    def _answers(self) -> bool:
        try:
            return bool(self.docker("version"))
        except RuntimeError:
            return False

    def _run(self, *command: str, stdin: str = "", seconds: float = 300) -> str:
        return output_of(command, self._environment, stdin, seconds, CHECKOUT)
