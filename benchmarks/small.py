"""`make bench`: a small run of what people wait for, beside the figures of an earlier one. It says what got slower.

Machines differ and are shared, so times are compared as multiples of a loop that is timed before and after each of
them; requests are counted. Arguments: `--store` keeps this run's figures in benchmarks/figures.json.
"""

import asyncio
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from temporalio.client import Client as Temporal
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.deprovision import environment_ready, seed
from benchmarks.measuring import requests_of
from localcluster.binaries import ensure_all
from localcluster.client import OPERATORS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager

STORED: Final = Path(__file__).parent / "figures.json"
ROUNDS: Final = 5
PAIRS: Final = 20
SLOWER: Final = {"times": 1.5, "requests": 1.1}
"""From which multiple of a stored figure on something counts as slower: times vary much on shared machines."""


class Figures:
    """What one run measured: times as multiples of the loop's, and numbers of requests."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {"times": {}, "requests": {}}
        self._rounds: dict[str, list[float]] = {}

    def time(self, name: str, act: Callable[[], None]) -> None:
        """How long it takes; of several rounds under one name, the median."""
        before, began = loop(), time.monotonic()
        act()
        took = time.monotonic() - began
        rounds = self._rounds.setdefault(name, [])
        rounds.append(took / statistics.mean((before, loop())))
        print(f"  {name}: {took:.2f} s, {rounds[-1]:.1f} loops", flush=True)
        self.found["times"][name] = round(statistics.median(rounds), 1)

    @contextmanager
    def requests(self, name: str, environment: Environment) -> Iterator[None]:
        """Those that the worker sends to the API server while the block runs; watches do not count."""
        before = requests_of(environment.workers[0])
        yield
        sent = (requests_of(environment.workers[0]) - before).total
        print(f"  {name}: {sent} requests", flush=True)
        self.found["requests"][name] = sent

    def compared(self, stored: dict[str, dict[str, float]]) -> str:
        """A table of both runs, and a sentence about what got slower."""
        rows, slower = ["| | now | stored | |", "|---|---|---|---|"], []
        for kind, unit in (("times", "loops"), ("requests", "requests")):
            for name, now in self.found[kind].items():
                before = stored.get(kind, {}).get(name)
                ratio = now / before if before else None
                rows.append(f"| {name}, {unit} | {now:g} | {before or '-'} | {f'x {ratio:.2f}' if ratio else 'new'} |")
                if ratio and ratio > SLOWER[kind]:
                    slower.append(f"{name} ({unit}): {before:g} -> {now:g}")
        said = f"got slower: {'; '.join(slower)}" if slower else "nothing got slower"
        return "\n".join([*rows, "", said if stored else "no figures are stored: ARGS=--store keeps those of this run"])


def loop() -> float:
    """Seconds of a fixed piece of work, of the kind that a worker does: JSON and hashes."""
    began = time.monotonic()
    text = json.dumps({str(number): [number] * 10 for number in range(2_000)})
    for _ in range(10):
        text = json.dumps(json.loads(text))
        hashlib.sha256(text.encode()).hexdigest()
    return time.monotonic() - began


def main() -> int:
    if set(sys.argv[1:]) - {"--store"}:
        print("bench takes --store or nothing", file=sys.stderr)
        return 2
    ensure_all()
    figures = Figures()
    with ServiceManager() as sap, Environment({"BTP_HARD_DELETE_TIMEOUT": "20m"}) as environment:
        measure(figures, environment, sap)
    stored = json.loads(STORED.read_text()) if STORED.is_file() else {}
    print(f"\n{figures.compared(stored)}", flush=True)
    if "--store" in sys.argv:
        STORED.write_text(json.dumps(figures.found, indent=2) + "\n")
    return 0


def measure(figures: Figures, environment: Environment, sap: ServiceManager) -> None:
    person, worker = Person(environment.cluster), environment.workers[0]

    def restart() -> None:
        worker.start()
        worker.wait_ready()

    for _ in range(3):
        worker.stop()
        figures.time("a worker, from its start until it is ready", restart)
    operand = environment_ready(environment, sap)
    remove(person)

    def ready() -> None:
        person.create_operator("bench")
        wait_until(lambda: (s := person.status("bench")) is not None and s.state == "Ready", "Ready", every=0.005)

    ready()
    remove(person)
    for number in range(ROUNDS):
        with figures.requests("a CR until Ready, and the looks that follow", environment):
            figures.time("a CR until Ready", ready)
            time.sleep(1.5)
        if number < ROUNDS - 1:
            remove(person)
    with figures.requests("a look at a CR that nothing has changed", environment):
        label = {"metadata": {"labels": {"bench": "look"}}}
        path = f"{OPERATORS}/namespaces/kyma-system/btpoperators/bench"
        environment.cluster.request("PATCH", path, label, "application/merge-patch+json")
        time.sleep(1.5)
    seed(environment, sap, PAIRS)
    with figures.requests(f"hard delete of {PAIRS} instances and {PAIRS} bindings", environment):
        figures.time(f"hard delete of {PAIRS} instances and {PAIRS} bindings", lambda: remove(person))
    operand = environment_ready(environment, sap, operand)
    seed(environment, sap, PAIRS)
    operand.kill()
    person.delete_operator("bench")
    wait_until(lambda: (s := person.status("bench")) is not None and s.reason == "HardDeleting", "hard delete")
    time.sleep(2)
    with figures.requests(f"soft delete of {PAIRS} instances and {PAIRS} bindings", environment):
        figures.time(f"soft delete of {PAIRS} instances and {PAIRS} bindings", lambda: skip(environment, person))


def remove(person: Person) -> None:
    person.delete_operator("bench")
    wait_until(lambda: person.status("bench") is None, "the CR to be gone", seconds=120, every=0.005)


def skip(environment: Environment, person: Person) -> None:
    """End hard delete, and wait until the CR is gone."""

    async def ask() -> None:
        client = await Temporal.connect(environment.temporal.address, data_converter=pydantic_data_converter)
        running = "WorkflowType = 'DeprovisionWorkflow' AND ExecutionStatus = 'Running'"
        async for execution in client.list_workflows(running):
            handle = client.get_workflow_handle(execution.id)
            await handle.execute_update("skip_to_soft_delete", "bench")

    asyncio.run(ask())
    wait_until(lambda: person.status("bench") is None, "the CR to be gone", seconds=120, every=0.005)


if __name__ == "__main__":
    sys.exit(main())
