"""`make bench-start`: where the time of a start goes, of a worker and of a trigger, and what they weigh when idle.

Arguments: number of rounds (default 5), then a Python and a folder: the same processes of that checkout, in turn with
those of this one, so that both meet the same machine. Each phase begins where the one above it ends; figures are
medians. CPU is what the process used until it was ready, its children apart: the steadier figure on a shared machine.
"""

import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.measuring import resident_mib
from localcluster.binaries import ensure_all
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment, Manager
from localcluster.processes import Process, output_of

IDLE: Final = 20.0
"""Seconds after it was ready at which a process is weighed."""
ENDS: Final = {
    "answers": "until the API server answers",
    "connected to Temporal": "until Temporal is connected",
    "serving": "until the worker polls",
}
"""The phases, by the line of the log that ends them."""
READY: Final = "until /readyz says so"
Phases = dict[str, float]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    sides = {"now": (sys.executable, str(CHECKOUT))}
    if len(sys.argv) > 2:
        sides = {"there": (sys.argv[2], sys.argv[3]), **sides}
    ensure_all()
    with Environment() as environment:
        for manager in (environment.workers[0], environment.triggers[0]):
            manager.stop()
            found: dict[str, list[Phases]] = {name: [] for name in sides}
            for number in range(rounds):
                for name, (python, folder) in sides.items():
                    idle = IDLE if number == rounds - 1 else 0
                    found[name].append(started(manager, python, folder, idle))
            print(f"\n{table(manager.name, found)}", flush=True)


def started(manager: Manager, python: str, folder: str, idle: float) -> Phases:
    """Start it once, and end it again."""
    environment = {**manager.environment, "PYTHONPATH": folder, "PYTHONSAFEPATH": "1"}
    before = time.monotonic()
    output_of([python, "-c", f"import {manager.module}.__main__"], environment)
    imports = time.monotonic() - before
    assert manager.process is not None
    log = manager.process.log
    log.unlink(missing_ok=True)
    began = time.time()
    manager.process = Process(manager.name, [python, "-m", manager.module], log.parent, environment)
    manager.wait_ready()
    ready, used = time.time(), cpu_seconds(manager.process.pid)
    time.sleep(idle)
    phases = {"imports alone": imports} | dict(phases_of(log, began, ready)) | {"in all": ready - began, "CPU": used}
    if idle:
        phases["MiB, idle"] = resident_mib(manager)
    manager.stop()
    return phases


def phases_of(log: Path, began: float, ready: float) -> Iterator[tuple[str, float]]:
    """How long each took, by the times in the log."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    moments = {
        line["event"]: datetime.datetime.fromisoformat(line["timestamp"]).timestamp() for line in reversed(lines)
    }
    for event, phase in ENDS.items():
        if event in moments:  # a trigger does not poll
            yield phase, moments[event] - began
            began = moments[event]
    yield READY, ready - began


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, as the kernel counts it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def table(name: str, found: Mapping[str, list[Phases]]) -> str:
    """A column for each side, and what the last is of the first."""
    rows = [f"| {name}, seconds | {' | '.join(found)} | |", f"|---|{'---|' * (len(found) + 1)}"]
    for phase in next(iter(found.values()))[-1]:
        medians = [statistics.median(each[phase] for each in side if phase in each) for side in found.values()]
        ratio = f"x {medians[-1] / medians[0]:.2f}" if len(medians) > 1 and medians[0] > 0 else ""
        rows.append(f"| {phase} | {' | '.join(f'{median:.2f}' for median in medians)} | {ratio} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
