"""SIGTERM ends worker and trigger within ten seconds, whatever does not answer, and another worker goes on."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment, Manager
from localcluster.faults import Fault
from localcluster.processes import Process, wait_until

LIMIT: float = 10.0
"""Seconds; the contract of both processes."""


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment(faults=True) as started:
        yield started


@pytest.fixture
def pair(environment: Environment) -> Iterator[tuple[Process, Process]]:
    """A worker and a trigger of the test's own, both ready, the only ones that run."""
    environment.proxy.clear()
    managers = environment.workers[0], environment.triggers[0]
    yield _running(managers[0]), _running(managers[1])
    for manager in managers:
        manager.stop()


def _running(manager: Manager) -> Process:
    if manager.process is None or not manager.process.alive:
        manager.start()
    manager.wait_ready()
    assert manager.process is not None
    return manager.process


@contextlib.contextmanager
def api_server_frozen(environment: Environment) -> Iterator[None]:
    environment.cluster.freeze_apiserver()
    try:
        yield
    finally:
        environment.cluster.thaw_apiserver()


@contextlib.contextmanager
def temporal_frozen(environment: Environment) -> Iterator[None]:
    server = environment.temporal.process
    assert server is not None
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


@contextlib.contextmanager
def both_frozen(environment: Environment) -> Iterator[None]:
    with api_server_frozen(environment), temporal_frozen(environment):
        yield


@contextlib.contextmanager
def temporal_refuses(environment: Environment) -> Iterator[None]:
    environment.temporal.stop()
    try:
        yield
    finally:
        environment.temporal.start()


@contextlib.contextmanager
def api_server_refuses(environment: Environment) -> Iterator[None]:
    environment.proxy.add(Fault(reset=True))
    environment.proxy.hang_up()
    try:
        yield
    finally:
        environment.proxy.clear()


Away = Callable[[Environment], contextlib.AbstractContextManager[None]]


@pytest.mark.parametrize(
    "away", [api_server_frozen, temporal_frozen, both_frozen, temporal_refuses, api_server_refuses]
)
def test_both_end_within_ten_seconds_whatever_does_not_answer(
    environment: Environment, pair: tuple[Process, Process], away: Away
) -> None:
    with away(environment):
        _ended_in_time(*pair)


@pytest.mark.long
def test_a_worker_ends_while_a_small_look_is_being_retried_and_another_worker_takes_it_over(
    environment: Environment, pair: tuple[Process, Process]
) -> None:
    worker, _ = pair
    person = Person(environment.cluster)
    refused = environment.proxy.add(Fault(path="secrets/sap-btp-manager", watch=False, status=503))
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")
    wait_until(lambda: refused.hits > 8, "the look to be retried", worker)
    _ended_in_time(worker)
    environment.proxy.clear()
    _running(environment.workers[0])
    _becomes(person, "Ready")
    person.delete_operator("btpoperator")
    wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone")


@pytest.mark.long
def test_a_long_activity_of_a_worker_that_ended_beside_a_frozen_temporal_is_done_by_another_worker(
    environment: Environment, pair: tuple[Process, Process]
) -> None:
    worker, _ = pair
    person = Person(environment.cluster)
    person.put_secret(CREDENTIALS)
    held = environment.proxy.add(Fault(methods=("PATCH",), path="deployments", status=503))
    person.create_operator("btpoperator")
    wait_until(lambda: held.hits > 0, "the chart to be applied", worker)
    with temporal_frozen(environment):
        _ended_in_time(worker)
    environment.proxy.clear()
    _running(environment.workers[0])
    _becomes(person, "Ready")
    person.delete_operator("btpoperator")
    wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone")


def _ended_in_time(*processes: Process) -> None:
    """All get SIGTERM at once; none may need SIGKILL, and each ends as one that was asked to."""
    deadline = time.monotonic() + LIMIT
    for process in processes:
        process.terminate()
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(deadline - time.monotonic(), 0.0))
        assert not process.alive, f"{process.name} did not end within {LIMIT} s:\n{process.tail()}"
        assert process.wait() == 0, process.tail()


def _becomes(person: Person, state: str) -> None:
    def so() -> bool:
        status = person.status("btpoperator")
        return bool(status and status.state == state)

    wait_until(so, f"the CR to be {state}")
