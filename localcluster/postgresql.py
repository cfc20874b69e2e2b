"""A PostgreSQL server of our own, from the distribution's packages, for a Temporal server to keep its data in."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from localcluster.processes import Process, free_port, own_folder, wait_until
from localcluster.started import Started

USER: Final = "temporal"
PLACES: Final = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")
"""Where distributions put the server's programs, which they keep off the PATH."""


def programs() -> Path | None:
    """The folder with the newest server's programs; None if PostgreSQL is not installed."""
    known = [folder for place in PLACES for folder in Path("/").glob(place)]
    if found := shutil.which("initdb"):
        known.append(Path(found).resolve().parent)
    whole = [folder for folder in known if (folder / "initdb").is_file() and (folder / "postgres").is_file()]
    return max(whole, key=_version, default=None)


class PostgreSQL(Started):
    """One server with an empty database cluster. `with PostgreSQL() as database: database.port`.

    It refuses to run as root. Started by root it gets another user, who must be able to reach its files: they lie in
    the folder for temporary files instead of the checkout.
    """

    def __init__(self) -> None:
        folder = programs()
        if folder is None:
            raise RuntimeError("PostgreSQL is not installed; install your distribution's package postgresql")
        self._programs = folder
        self._user = _somebody() if os.geteuid() == 0 else None
        self._folder = own_folder(Path(tempfile.gettempdir()), "btp-manager-postgresql")
        self.port = free_port()
        self._process: Process | None = None

    def close(self) -> None:
        if self._process:
            self._process.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        self._make()
        self.start()

    def start(self) -> None:
        """Start, or start again with the same data."""
        flags = [
            "-D",
            str(self._data),
            "-k",
            str(self._folder),
            "-p",
            str(self.port),
            "-clisten_addresses=127.0.0.1",
        ]
        self._process = Process("postgresql", [self._programs / "postgres", *flags], self._folder, user=self._user)
        wait_until(
            lambda: self._run("pg_isready", *self._where, "-U", USER).returncode == 0,
            "PostgreSQL to answer",
            self._process,
        )

    def kill(self) -> None:
        """SIGKILL, as a lost machine would."""
        assert self._process is not None
        self._process.kill()

    def query(self, sql: str, database: str) -> str:
        """What psql prints for a query, without ornaments."""
        done = self._run("psql", *self._where, "-U", USER, "-At", "-c", sql, database)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _where(self) -> tuple[str, ...]:
        return "-h", "127.0.0.1", "-p", str(self.port)

    def _make(self) -> None:
        if self._user:
            shutil.chown(self._folder, self._user)
        flags = ("-D", str(self._data), "-U", USER, "--auth=trust", "--encoding=UTF8")
        done = self._run("initdb", *flags, user=self._user)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()}")

    def _run(self, program: str, *arguments: str, user: str | None = None) -> "subprocess.CompletedProcess[str]":
        command = [str(self._programs / program), *arguments]
        return subprocess.run(
            command, cwd=self._folder, user=user, capture_output=True, text=True, check=False, timeout=60
        )


def _somebody() -> str:
    """The user that the package made for the server, else one without rights."""
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _version(folder: Path) -> int:
    digits = [part for part in folder.parts if part.isdigit()]
    return int(digits[0]) if digits else 0
