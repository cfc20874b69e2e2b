"""What stays small under load and in trouble: histories, requests, log lines. Real processes, real CRs."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecutionStatus

from kube.client import Kube
from kube.resources import BTP_OPERATORS
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.faults import Fault
from localcluster.servicemanager import ServiceManager
from models.names import KYMA_NAMESPACE
from tests.e2e.deletion import Scene

pytestmark = pytest.mark.long

EVENTS = 10_000
LONGEST_RUN = 2000
HEARTBEATS = 3.0
"""Seconds from one to the next, as docs/scale.md says."""
REPLACED = 10.0
"""Seconds after which a dead worker's activity is given to another one, at most."""


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment(faults=True) as environment:
        yield Scene(environment, sap)


@pytest.mark.load
@pytest.mark.timeout(400)
async def test_ten_thousand_changes_of_one_cr_keep_histories_short_and_none_is_lost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(scene.environment.cluster.kubeconfig()))
    kube, person = await Kube.from_environment(), scene.person
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")
    await asyncio.to_thread(scene.until, lambda: scene.state() == "Ready", "the CR to be Ready")
    room = asyncio.Semaphore(16)

    async def change(number: int) -> None:
        async with room:
            patch = {"metadata": {"labels": {"example.com/number": str(number)}}}
            await kube.merge(BTP_OPERATORS, "btpoperator", KYMA_NAMESPACE, patch)

    try:
        await asyncio.gather(*(change(number) for number in range(EVENTS)))
        # The last one of all takes effect like the first.
        person.delete(f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets/sap-btp-manager")
        await asyncio.to_thread(scene.until, lambda: scene.reason() == "MissingSecret", "the last change to be seen")
    finally:
        await kube.close()
    person.delete_operator("btpoperator")
    await asyncio.to_thread(scene.gone)
    client = await scene.settled()
    runs = [run async for run in client.list_workflows("WorkflowType != 'ResyncWorkflow'")]
    ended_well = {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CONTINUED_AS_NEW}
    assert {run.status for run in runs} <= ended_well
    assert max(run.history_length for run in runs) < LONGEST_RUN
    assert len(runs) < EVENTS / 10  # a burst is one more look, not a workflow for each event


@pytest.mark.parametrize(
    "trouble",
    [
        Fault(methods=("PATCH", "POST"), status=500),
        Fault(methods=("PATCH", "POST"), reset=True),
        Fault(methods=("GET",), path="secrets", status=503),
        Fault(methods=("PATCH",), path="status", status=409),
    ],
    ids=["every write fails", "every write is cut off", "Secrets cannot be read", "every status conflicts"],
)
def test_lasting_trouble_is_retried_at_a_bounded_rate_and_logged_calmly(scene: Scene, trouble: Fault) -> None:
    proxy, worker, seconds = scene.environment.proxy, scene.environment.workers[0], 8.0
    assert worker.process is not None
    person = Person(scene.environment.cluster)
    person.put_secret(CREDENTIALS)
    proxy.faults.append(trouble)
    person.create_operator("btpoperator")
    time.sleep(1)
    proxy.requests.clear()
    lines = len(worker.process.log.read_text().splitlines())
    time.sleep(seconds)
    asked = sum(proxy.requests.values())
    logged = worker.process.log.read_text().splitlines()[lines:]
    print(f"{asked / seconds:.1f} requests and {len(logged) / seconds:.1f} lines a second")
    assert asked / seconds < 10
    assert len(logged) / seconds < 1, logged
    assert "Traceback" not in "".join(logged)
    proxy.clear()
    scene.until(lambda: scene.state() == "Ready", "the CR to be Ready", 60)
    person.delete_operator("btpoperator")
    scene.gone()


@pytest.mark.timeout(200)
async def test_a_wait_sends_few_heartbeats_and_is_given_to_somebody_else_soon_after_the_last_one(scene: Scene) -> None:
    environment, person, seconds = scene.environment, scene.person, 20.0
    worker = environment.workers[0]
    environment.cluster.stop_node()  # nothing becomes ready
    try:
        person.put_secret(CREDENTIALS)
        person.create_operator("btpoperator")
        client = await Temporal.connect(environment.temporal.address)
        sent = await _heartbeats_of_one_attempt(client, "wait_until_ready", seconds)
        print(f"{sent} heartbeats in {seconds:.0f} s")
        assert 1 < sent <= seconds / HEARTBEATS + 2
        assert worker.process is not None
        waiting = _attempt(await _pending(client, "wait_until_ready"))
        worker.process.freeze()
        began = time.monotonic()
        while (attempt := _attempt(await _pending(client, "wait_until_ready"))) == waiting:
            await asyncio.sleep(0.1)
            assert time.monotonic() - began < 60
        took = time.monotonic() - began
        print(f"attempt {attempt[1]} is wanted {took:.1f} s after the worker froze")
        assert took < REPLACED
    finally:
        assert worker.process is not None
        worker.process.thaw()
        environment.cluster.start_node()
    scene.until(lambda: scene.state() == "Ready", "the CR to be Ready", 120)
    person.delete_operator("btpoperator")
    scene.gone()


async def _heartbeats_of_one_attempt(client: Temporal, activity: str, seconds: float) -> int:
    """Those that Temporal takes of it in so long a time, in which no further attempt begins: one that begins sends a
    heartbeat at once, and news of a pod ends one. The server's own counter has those of other activities in it too."""
    async with asyncio.timeout(100):
        while True:
            pending, until = await _pending(client, activity), time.monotonic() + seconds
            attempt, taken = _attempt(pending), {pending.last_heartbeat_time.ToNanoseconds()}
            while _attempt(pending := await _pending(client, activity)) == attempt:
                taken.add(pending.last_heartbeat_time.ToNanoseconds())
                if time.monotonic() >= until:
                    return len(taken) - 1  # the first one was there before
                await asyncio.sleep(0.1)


def _attempt(pending: PendingActivityInfo) -> tuple[str, int]:
    return pending.activity_id, pending.attempt


async def _pending(client: Temporal, activity: str) -> PendingActivityInfo:
    """What Temporal says of the activity of that type that is pending."""
    async with asyncio.timeout(60):
        while True:
            async for run in client.list_workflows("ExecutionStatus = 'Running'"):
                described = await client.get_workflow_handle(run.id).describe()
                for pending in described.raw_description.pending_activities:
                    if pending.activity_type.name == activity:
                        return pending
            await asyncio.sleep(0.1)
