"""`make bench-slow-broker`: hard delete while the broker takes its time, by this checkout and by an earlier commit.

Arguments: number of pairs (default 20), then a commit to compare with (default HEAD~1). The operand is a stand-in that
works on one object of a kind at a time as the real one does; both sides meet the same one, one after the other.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.deprovision import environment_ready, seed
from benchmarks.sides import NOW, commit_in, environment_of, numbers_in, sides
from localcluster.binaries import ensure_all
from localcluster.client import Person
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
    pairs = next(iter(numbers_in(sys.argv[1:])), 20)
    before = commit_in(sys.argv[1:]) or "HEAD~1"
    ensure_all()
    print(f"{pairs} + {pairs} objects; stand-in operand, one object of a kind at a time, both kinds side by side")
    for broker in BROKERS:
        with sides(before) as both:
            took = {name: measure(name, code, pairs, broker) for name, code in both.items()}
        print(f"  {broker.name}: {before} {took[before]:.1f} s, now {took[NOW]:.1f} s", flush=True)


def measure(name: str, code: Path, pairs: int, broker: Broker) -> float:
    """Seconds from the deletion of the CR until SAP has nothing left. Prints what there is to compare it with."""
    with (
        ServiceManager() as sap,
        environment_of(code, {"BTP_HARD_DELETE_TIMEOUT": "1h"}, compared=True) as environment,
    ):
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
            f"    {name}: the last binding after {bindings:.1f} s, the last "
            f"instance after {took:.1f} s; {sap.refusals_for_bindings} refusals; a kind's calls alone take "
            f"{pairs * broker.call:.1f} s, at most {max(sap.side_by_side.values())} of a kind side by side",
            flush=True,
        )
        return took


if __name__ == "__main__":
    main()
