"""Which CRs a resync has looked at."""

import time
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.responsibility import ResponsibilityActivities
from activities.resync import ResyncActivities
from activities.status import StatusActivities
from dispatch.names import workflow_id
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from localcluster.client import Person
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, PROVISION_WORKFLOW
from models.operators import Operator, OperatorRef
from models.resync import ResyncInput
from models.status import StatusInput
from tests.acting import in_a_resync, mandate_for, provision


class Recorder:
    """Takes nudges in place of Temporal."""

    def __init__(self, refused: str = "") -> None:
        self.nudged: list[str] = []
        self._refused = refused

    async def start_workflow(self, _: str, input: Any, **__: Any) -> None:
        if input.ref.name == self._refused:
            raise RPCError("its history is full", RPCStatusCode.RESOURCE_EXHAUSTED, b"")
        self.nudged.append(input.ref.name)

    def get_workflow_handle(self, _: str) -> "Recorder":
        return self

    async def describe(self) -> None:
        raise RPCError("what was nudged has ended", RPCStatusCode.NOT_FOUND, b"")


async def resync(worker: Kube) -> list[str]:
    recorder = Recorder()
    activities = ResyncActivities(worker, "q", listed=True)
    environment = in_a_resync(cast(Client, recorder))
    result = await environment.run(activities.nudge_operators, ResyncInput(cluster=await worker.cluster_uid()))
    assert result.nudged == len(recorder.nudged)
    return sorted(recorder.nudged)


async def look(worker: Kube, ref: OperatorRef) -> None:
    """What a spare's workflow does."""
    mandate = await mandate_for(worker, ref)
    assessment = await provision(ResponsibilityActivities(worker).assess_operator, mandate)
    assert assessment.finding
    said = StatusInput(mandate=mandate, finding=assessment.finding)
    await provision(StatusActivities(worker).set_status, said)


async def test_a_resync_leaves_spares_alone_that_say_which_cr_is_responsible(
    kube: Kube, worker: Kube, person: Person
) -> None:
    refs = [Operator.from_object(person.create_operator(name)).ref for name in ("a", "b", "c", "d")]
    assert await resync(worker) == ["a", "b", "c", "d"]  # nobody has looked at them yet
    for ref in refs[1:]:
        await look(worker, ref)
    assert await resync(worker) == ["a"]
    ours = {"metadata": {"finalizers": ["operator.kyma-project.io/btp-manager"]}}
    await kube.merge(BTP_OPERATORS, "d", KYMA_NAMESPACE, {"metadata": {"finalizers": ["example.com/theirs"]}})
    person.delete_operator("d")
    assert await resync(worker) == ["a", "d"]
    await kube.merge(BTP_OPERATORS, "d", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})
    person.delete_operator("a")
    assert await resync(worker) == ["b", "c"]  # the next-oldest, and one that names a CR that is gone
    await look(worker, refs[2])
    await kube.merge(BTP_OPERATORS, "c", KYMA_NAMESPACE, ours)
    assert await resync(worker) == ["b", "c"]  # it holds what is not its own
    await kube.merge(BTP_OPERATORS, "c", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})


async def test_one_cr_that_cannot_be_nudged_stops_no_other_and_the_resync_counts_as_failed(
    worker: Kube, person: Person
) -> None:
    for name in ("a", "b"):
        person.create_operator(name)
    input = ResyncInput(cluster=await worker.cluster_uid())

    def last_success() -> float:
        return REGISTRY.get_sample_value("btp_resync_last_success_timestamp_seconds") or 0.0

    before = last_success()
    for bad, other in (("a", "b"), ("b", "a")):
        recorder = Recorder(refused=bad)
        activities = ResyncActivities(worker, "q", listed=True)
        environment = in_a_resync(cast(Client, recorder))
        with pytest.raises(ApplicationError, match=f"1 of 2 CRs could not be nudged: .*/{bad}: its history is full"):
            await environment.run(activities.nudge_operators, input)
        assert recorder.nudged == [other] and last_success() == before
    assert await resync(worker) == ["a", "b"]
    assert before < last_success() <= time.time()


async def test_a_resync_says_what_runs_under_the_id_of_a_cr_in_its_place(
    worker: Kube, person: Person, temporal: Client, task_queue: str
) -> None:
    ref = Operator.from_object(person.create_operator("squatted")).ref
    cluster = await worker.cluster_uid()
    identity = workflow_id(Mandate(cluster=cluster, ref=ref), task_queue)
    activities = ResyncActivities(worker, task_queue, listed=True)

    async def look_at_all() -> int:
        environment = in_a_resync(temporal)
        return (await environment.run(activities.nudge_operators, ResyncInput(cluster=cluster))).nudged

    for kind, queue in (("Anything", task_queue), (PROVISION_WORKFLOW, "a-queue-of-mine")):
        squatter = await temporal.start_workflow(kind, id=identity, task_queue=queue)
        with pytest.raises(ApplicationError, match=f"is a '{kind}' on task queue '{queue}', and keeps"):
            await look_at_all()
        await squatter.terminate()
    assert await look_at_all() == 1
    await temporal.get_workflow_handle(identity).terminate()
