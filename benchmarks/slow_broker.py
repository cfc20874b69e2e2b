"""`make bench-slow-broker`: hard delete while the broker takes its time, by this checkout and by an earlier commit.

Arguments: number of pairs (default 20), then a commit to compare with (default HEAD~1). The operand is a stand-in that
works on one object of a kind at a time as the real one does; both sides meet the same one, one after the other.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.deprovision import environment_ready, seed
from localcluster.binaries import ensure_all
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager


@dataclass(frozen=True)
class Broker:
    """How slow it is, in seconds."""

    name: str
    call: float
    later: float = 0.0
    """After which an accepted deletion is done; 0: when it is answered."""
    poll: float = 0.0


BROKERS: Final = (
    Broker("0.5 s a call", 0.5),
    Broker("1 s a call, done 1 s later, 1 s a look at that", 1.0, later=1.0, poll=1.0),
)


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    before = sys.argv[2] if len(sys.argv) > 2 else "HEAD~1"
    ensure_all()
    print(f"{pairs} + {pairs} objects; stand-in operand, one object of a kind at a time, both kinds side by side")
    for broker in BROKERS:
        with checked_out(before) as earlier:
            took = {name: measure(code, pairs, broker) for name, code in ((before, earlier), ("now", CHECKOUT))}
        print(f"  {broker.name}: {before} {took[before]:.1f} s, now {took['now']:.1f} s", flush=True)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The files of a commit, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, capture_output=True, check=True)  # noqa: S607
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S607
        yield Path(folder)


def measure(code: Path, pairs: int, broker: Broker) -> float:
    """Seconds from the deletion of the CR until SAP has nothing left. Prints what there is to compare it with."""
    with ServiceManager() as sap:
        environment = Environment({"BTP_HARD_DELETE_TIMEOUT": "1h"})
        for manager in environment.workers + environment.triggers:
            manager.environment |= {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
        with environment:
            environment_ready(environment, sap)
            seed(environment, sap, pairs)
            sap.latency, sap.asynchronous, sap.poll_latency = broker.call, broker.later, broker.poll
            began = time.monotonic()
            Person(environment.cluster).delete_operator("bench")
            wait_until(lambda: not sap.bindings, "no binding to be in SAP", seconds=3600)
            bindings = time.monotonic() - began
            wait_until(lambda: not sap.instances, "SAP to be empty", seconds=3600)
            took = time.monotonic() - began
            wait_until(lambda: Person(environment.cluster).status("bench") is None, "the CR to be gone", seconds=600)
            print(
                f"    {'now' if code == CHECKOUT else 'before'}: the last binding after {bindings:.1f} s, the last "
                f"instance after {took:.1f} s; {sap.refusals_for_bindings} refusals; a kind's calls alone take "
                f"{pairs * broker.call:.1f} s, at most {max(sap.side_by_side.values())} of a kind side by side",
                flush=True,
            )
            return took


if __name__ == "__main__":
    main()
