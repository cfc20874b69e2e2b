"""Looks for values of Secrets wherever something of a process can be seen from outside."""

import base64
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from temporalio.client import Client

from localcluster.environment import Environment, Manager


class Canaries:
    """Values that must not be found: as they are, and in base64 at each of the three places they may start."""

    def __init__(self, values: Iterable[str]) -> None:
        self._spellings = [text.encode() for value in values for text in _spellings(value)]

    def found_in(self, content: bytes) -> list[bytes]:
        return [spelling for spelling in self._spellings if spelling in content]


def _spellings(value: str) -> list[str]:
    encoded = [base64.b64encode(b"x" * shift + value.encode()).decode()[4:-4] for shift in range(3)]
    return [value, *encoded]


async def histories(client: Client) -> dict[str, bytes]:
    """Every event of every workflow, failed ones included."""
    found = {}
    async for run in client.list_workflows():
        history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        found[f"{run.id} {run.run_id}"] = b"".join(event.SerializeToString() for event in history.events)
    return found


def outside(environment: Environment) -> Iterator[tuple[str, bytes]]:
    """Logs, command lines and metrics of worker and trigger."""
    for manager in environment.workers + environment.triggers:
        assert manager.process is not None
        yield f"log of {manager.name}", manager.process.log.read_bytes()
        yield f"command line of {manager.name}", Path(f"/proc/{manager.process.pid}/cmdline").read_bytes()
        with urllib.request.urlopen(f"http://127.0.0.1:{manager.metrics}/metrics", timeout=10) as answer:
            yield f"metrics of {manager.name}", answer.read()


class Watcher(threading.Thread):
    """While the block runs, keeps command lines of a process's children, and whatever lies in its temporary folder."""

    def __init__(self, manager: Manager, temporary: Path) -> None:
        super().__init__(daemon=True)
        self._manager = manager
        self._temporary = temporary
        self._over = threading.Event()
        self.seen: set[bytes] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.005):
            assert self._manager.process is not None
            parent = self._manager.process.pid
            for path in (*_children(parent), *self._temporary.rglob("*")):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # a folder, or gone by now


def _children(parent: int) -> Iterator[Path]:
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            pids = task.read_text().split()
        except OSError:
            continue
        yield from (Path(f"/proc/{pid}/cmdline") for pid in pids)
