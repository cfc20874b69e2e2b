"""Servers that are away for a while, and processes that start before what they need."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import ControlPlane
from localcluster.environment import Environment, Manager
from localcluster.processes import wait_until
from tests.chaos.stage import Stage
from tests.chaos.stories import PROVISION, tidy

NOISE = 12
"""Lines that a process may log while something is away: one for each state, not one for each retry."""


@dataclass(frozen=True)
class Late:
    """Seconds after everything is back until the CR says what is done about it, and until it is Ready.

    The first is the manager's own; for the second the cluster's controllers, which begin anew too, must make a pod.
    """

    seen: float
    ready: float

    def __str__(self) -> str:
        return f"{self.seen:.1f} until acted upon, {self.ready:.1f} until Ready"


def lines(manager: Manager) -> int:
    assert manager.process is not None
    return len(manager.process.log.read_text().splitlines())


def temporal_away(stage: Stage, seconds: float) -> Late:
    """A CR and its Secret are made while Temporal is away."""
    environment, trigger = stage.environment, stage.environment.triggers[0]
    PROVISION.prepare(stage.scene)
    before = {manager: lines(manager) for manager in (trigger, environment.workers[0])}
    environment.temporal.stop()
    stage.scene.person.create_operator("btpoperator")
    wait_until(lambda: trigger.readiness()[0] == 503, "the trigger to say that nudges cannot be delivered")
    time.sleep(seconds)
    assert trigger.readiness()[0] == 503
    for manager, count in before.items():
        assert lines(manager) - count <= NOISE, manager.process and manager.process.tail()
    environment.temporal.start()
    return _until_ready(stage)


def api_server_away(stage: Stage, seconds: float) -> Late:
    """A CR is made and the API server goes at once."""
    environment, trigger = stage.environment, stage.environment.triggers[0]
    PROVISION.prepare(stage.scene)
    before = [lines(manager) for manager in (trigger, environment.workers[0])]
    stage.scene.person.create_operator("btpoperator")
    environment.cluster.stop_apiserver()
    wait_until(lambda: "not following" in trigger.readiness()[1], "the trigger to say that it follows nothing")
    time.sleep(seconds)
    for manager, count in zip((trigger, environment.workers[0]), before, strict=True):
        # The trigger follows some twenty kinds, each with a line of its own.
        assert lines(manager) - count <= NOISE * 3, manager.process and manager.process.tail(50)
    environment.cluster.start_apiserver()
    return _until_ready(stage)


def both_away(stage: Stage, seconds: float) -> Late:
    """As above, with both away at once."""
    PROVISION.prepare(stage.scene)
    stage.environment.temporal.stop()
    stage.scene.person.create_operator("btpoperator")
    stage.environment.cluster.stop_apiserver()
    time.sleep(seconds)
    stage.environment.cluster.start_apiserver()
    stage.environment.temporal.start()
    return _until_ready(stage)


def _until_ready(stage: Stage) -> Late:
    late = _late(stage.scene.person)
    for manager in (*stage.environment.workers, *stage.environment.triggers):
        wait_until(lambda manager=manager: manager.readiness()[0] == 200, f"{manager.name} to be ready")  # type: ignore[misc]
    tidy(stage.scene)
    return late


ABSENCES: Mapping[str, Callable[[Stage, float], Late]] = {
    "Temporal away": temporal_away,
    "API server away": api_server_away,
    "both away": both_away,
}


def start_orders() -> Iterator[tuple[str, Late]]:
    """Worker and trigger started before everything else: how long until a CR is Ready once all is there."""
    for name, first in (("started before Temporal", "temporal"), ("started before the API server", "cluster")):
        environment = Environment()
        with environment:
            for manager in environment.workers + environment.triggers:
                manager.stop()
            environment.temporal.stop() if first == "temporal" else environment.cluster.stop_apiserver()
            for manager in environment.workers + environment.triggers:
                manager.start()
            for manager in environment.triggers:
                wait_until(partial(_is_unready, manager), f"{manager.name} to say what is away")
            time.sleep(3)
            environment.temporal.start() if first == "temporal" else environment.cluster.start_apiserver()
            yield name, _first_ready(environment.cluster)


def _is_unready(manager: Manager) -> bool:
    return manager.readiness()[0] == 503


def _first_ready(cluster: ControlPlane) -> Late:
    person = Person(cluster)
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")
    return _late(person)


def _late(person: Person) -> Late:
    """Watch a CR from now on."""
    began, seen = time.monotonic(), 0.0
    while (status := person.status("btpoperator")) is None or status.state != "Ready":
        waited = time.monotonic() - began
        seen = seen or (waited if status else 0.0)
        assert waited < 60, f"not Ready after {waited:.0f} s: {status}"
        time.sleep(0.02)
    return Late(seen, time.monotonic() - began)
