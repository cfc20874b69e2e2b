"""Servers that are away for a while, and processes that start before what they need."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping

from localcluster.client import CREDENTIALS
from localcluster.client import Client as Person
from localcluster.controlplane import ControlPlane
from localcluster.environment import Environment, Manager
from localcluster.processes import wait_until
from tests.chaos.stage import Stage
from tests.chaos.stories import PROVISION, tidy

NOISE = 12
"""Lines that a process may log while something is away: one for each state, not one for each retry."""


def probe(manager: Manager) -> tuple[int, str]:
    """What /readyz answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{manager.health}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def lines(manager: Manager) -> int:
    assert manager.process is not None
    return len(manager.process.log.read_text().splitlines())


def temporal_away(stage: Stage, seconds: float) -> float:
    """A CR and its Secret are made while Temporal is away; how long after its return the CR is Ready."""
    environment, trigger = stage.environment, stage.environment.triggers[0]
    PROVISION.prepare(stage.scene)
    before = {manager: lines(manager) for manager in (trigger, environment.workers[0])}
    environment.temporal.stop()
    stage.scene.person.create_operator("btpoperator")
    wait_until(lambda: probe(trigger)[0] == 503, "the trigger to say that nudges cannot be delivered")
    time.sleep(seconds)
    assert probe(trigger)[0] == 503
    for manager, count in before.items():
        assert lines(manager) - count <= NOISE, manager.process and manager.process.tail()
    environment.temporal.start()
    return _until_ready(stage)


def api_server_away(stage: Stage, seconds: float) -> float:
    """A CR is made and the API server goes at once; how long after its return the CR is Ready."""
    environment, trigger = stage.environment, stage.environment.triggers[0]
    PROVISION.prepare(stage.scene)
    before = [lines(manager) for manager in (trigger, environment.workers[0])]
    stage.scene.person.create_operator("btpoperator")
    environment.cluster.stop_apiserver()
    wait_until(lambda: "not following" in probe(trigger)[1], "the trigger to say that it follows nothing")
    time.sleep(seconds)
    for manager, count in zip((trigger, environment.workers[0]), before, strict=True):
        # The trigger follows some twenty kinds, each with a line of its own.
        assert lines(manager) - count <= NOISE * 3, manager.process and manager.process.tail(50)
    environment.cluster.start_apiserver()
    return _until_ready(stage)


def both_away(stage: Stage, seconds: float) -> float:
    """As above, with both away at once."""
    PROVISION.prepare(stage.scene)
    stage.environment.temporal.stop()
    stage.scene.person.create_operator("btpoperator")
    stage.environment.cluster.stop_apiserver()
    time.sleep(seconds)
    stage.environment.cluster.start_apiserver()
    stage.environment.temporal.start()
    return _until_ready(stage)


def _until_ready(stage: Stage) -> float:
    began = time.monotonic()
    stage.scene.until(lambda: stage.scene.state() == "Ready", "the CR to be Ready", 60)
    late = time.monotonic() - began
    for manager in (*stage.environment.workers, *stage.environment.triggers):
        wait_until(lambda manager=manager: probe(manager)[0] == 200, f"{manager.name} to be ready")  # type: ignore[misc]
    tidy(stage.scene)
    return late


ABSENCES: Mapping[str, Callable[[Stage, float], float]] = {
    "Temporal away": temporal_away,
    "API server away": api_server_away,
    "both away": both_away,
}


def start_orders() -> Iterator[tuple[str, float]]:
    """Worker and trigger started before everything else: how long until a CR is Ready once all is there."""
    for name, first in (("started before Temporal", "temporal"), ("started before the API server", "cluster")):
        environment = Environment()
        with environment:
            for manager in environment.workers + environment.triggers:
                manager.stop()
            environment.temporal.stop() if first == "temporal" else environment.cluster.stop_apiserver()
            for manager in environment.workers + environment.triggers:
                manager.start()
            time.sleep(3)
            for manager in environment.triggers:
                assert probe(manager)[0] == 503
            environment.temporal.start() if first == "temporal" else environment.cluster.start_apiserver()
            yield name, _first_ready(environment.cluster)


def _first_ready(cluster: ControlPlane) -> float:
    began, person = time.monotonic(), Person(cluster)
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")
    wait_until(lambda: (status := person.status("btpoperator")) is not None and status.state == "Ready", "Ready")
    return time.monotonic() - began
