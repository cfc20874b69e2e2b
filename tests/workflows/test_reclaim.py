"""When ReclaimWorkflow tries again, when it ends, and that a person or a restart does not lose anything."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from models.mandate import Mandate
from models.operators import OperatorRef
from models.reclaim import Outcome, ReclaimEnd, ReclaimInput, ReclaimResult, Round, RoundInput, Told
from tests.workflows.world import MANDATE, World, an_input, serving
from workflows.deprovision import DeprovisionWorkflow
from workflows.reclaim import ReclaimWorkflow, start_reclaim

REF = OperatorRef(namespace="kyma-system", name="btpoperator", uid="uid-1")
REFUSED = Told(
    kind="ServiceInstance", namespace="ns", name="a", sap_id="1", outcome=Outcome.REFUSED, why="1 existing bindings"
)
REFUSAL = Round(counts={Outcome.REFUSED: 1}, told=[REFUSED])
DONE = Round(counts={Outcome.RECLAIMED: 1})


class Sap:
    """Answers rounds as it is told: the last answer again and again."""

    def __init__(self, *rounds: Round | Exception) -> None:
        self._rounds = list(rounds)
        self.at: list[datetime] = []
        self.inputs: list[RoundInput] = []
        self.ends: list[ReclaimEnd] = []
        self.hangs = False
        self.stopped = False

    @activity.defn
    async def reclaim_round(self, input: RoundInput) -> Round:
        self.at.append(activity.info().current_attempt_scheduled_time)
        self.inputs.append(input)
        try:
            while self.hangs:
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.stopped = True
            raise
        answer = self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @activity.defn
    async def end_reclaim(self, input: ReclaimEnd) -> None:
        self.ends.append(input)

    def pauses(self) -> list[float]:
        """Seconds from round to round."""
        return [round((after - before).total_seconds()) for before, after in zip(self.at, self.at[1:], strict=False)]


@pytest.fixture
def client(skipping: WorkflowEnvironment) -> Client:
    """Of a server whose clock jumps while everybody waits."""
    return skipping.client


@asynccontextmanager
async def started(
    client: Client, sap: Sap, **input: Any
) -> AsyncIterator[WorkflowHandle[ReclaimWorkflow, ReclaimResult]]:
    task_queue = f"test-{uuid.uuid4().hex[:8]}"
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[ReclaimWorkflow],
        activities=[sap.reclaim_round, sap.end_reclaim],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(milliseconds=200),  # cancellations travel with heartbeats
        default_heartbeat_throttle_interval=timedelta(milliseconds=200),
    ):
        yield await client.start_workflow(
            ReclaimWorkflow.run,
            ReclaimInput(**{"cluster": "cluster-uid", "ref": REF, **input}),
            id=f"test/{uuid.uuid4()}",
            task_queue=task_queue,
        )


async def run(client: Client, sap: Sap, **input: Any) -> ReclaimResult:
    async with started(client, sap, **input) as handle:
        return await handle.result()


async def deprovision(client: Client, world: World) -> ReclaimResult | None:
    """A deletion whose hard delete runs out of time, and how the reclaim that it started has ended."""
    identity = f"test/{uuid.uuid4()}"
    async with serving(client, world) as task_queue:
        await client.execute_workflow(
            DeprovisionWorkflow.run,
            an_input(),
            id=identity,
            task_queue=task_queue,
        )
        try:
            handle = client.get_workflow_handle(f"{identity}/reclaim", result_type=ReclaimResult)
            result: ReclaimResult = await handle.result()
            return result
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            return None


async def test_a_deletion_that_abandons_something_starts_a_reclaim_where_somebody_consents(client: Client) -> None:
    world = World(instances=1, instances_go=False, consent=True)
    result = await deprovision(client, world)
    assert result and result.reclaimed == 1 and len(world.reclaimed) == 1


@workflow.defn
class Deletion:
    """As much of a deletion as starts a reclaim."""

    @workflow.run
    async def run(self, mandate: Mandate) -> None:
        await start_reclaim(mandate, timedelta(days=3))
        await start_reclaim(mandate, timedelta(days=3))  # a later run of the same deletion: it is under way


async def test_the_reclaim_is_for_this_deletion_in_this_cluster_and_begins_once(temporal: Client) -> None:
    world, sap = World(consent=True), Sap(DONE)
    sap.hangs = True
    async with Worker(
        temporal,
        task_queue="starts",
        workflows=[Deletion, ReclaimWorkflow],
        activities=[world.check_consent, sap.reclaim_round],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        identity = f"test/{uuid.uuid4()}"
        await temporal.execute_workflow(Deletion.run, MANDATE, id=identity, task_queue="starts")
        while not sap.at:
            await asyncio.sleep(0.02)
        reclaiming = temporal.get_workflow_handle(f"{identity}/reclaim", result_type=ReclaimResult)
        ends = (await reclaiming.query(ReclaimWorkflow.progress)).ends
        description = await reclaiming.describe()
        assert ends and abs(ends - description.start_time - timedelta(days=3)) < timedelta(seconds=5)
        await reclaiming.cancel()
        with pytest.raises(WorkflowFailureError):
            await reclaiming.result()
    (input,) = sap.inputs
    assert (input.cluster, input.ref, input.cluster_digest) == (MANDATE.cluster, MANDATE.ref, "digest")


@pytest.mark.parametrize(
    "world",
    [
        World(instances=1, instances_go=False),
        World(instances=1, instances_go=False, consent=True, refused="check_consent"),
        World(instances=1, consent=True),
    ],
    ids=["no consent", "nobody knows", "nothing abandoned"],
)
async def test_without_consent_or_need_no_reclaim_starts_and_the_deletion_ends_all_the_same(
    client: Client, world: World
) -> None:
    assert await deprovision(client, world) is None
    assert world.called[-1] == "remove finalizer"


async def test_it_ends_when_nothing_is_left(client: Client) -> None:
    sap = Sap(Round(counts={Outcome.RECLAIMED: 2, Outcome.IN_USE: 1}))
    result = await run(client, sap)
    assert (result.reclaimed, result.in_use, result.left, len(sap.at)) == (2, 1, 0, 1)
    assert [end.left for end in sap.ends] == [0] and "2 abandoned objects are gone" in sap.ends[0].message


async def test_what_only_a_person_can_change_is_not_waited_for(client: Client) -> None:
    told = REFUSED.model_copy(update={"outcome": Outcome.PROTECTED, "why": "preventDeletion"})
    result = await run(client, Sap(Round(counts={Outcome.PROTECTED: 1, Outcome.ABSENT: 1}, told=[told])))
    assert (result.reclaimed, result.left, result.told) == (1, 1, [told])


async def test_refusals_are_tried_again_after_pauses_that_grow_to_an_hour_and_begin_anew_after_progress(
    client: Client,
) -> None:
    progress = Round(counts={Outcome.RECLAIMED: 1, Outcome.REFUSED: 1}, told=[REFUSED])
    sap = Sap(*[REFUSAL] * 12, progress, REFUSAL, DONE)
    result = await run(client, sap)
    assert sap.pauses() == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 5, 10]
    assert (result.reclaimed, result.left) == (2, 0)


async def test_a_round_whose_time_was_over_is_followed_by_the_next_at_once(client: Client) -> None:
    sap = Sap(Round(counts={Outcome.RECLAIMED: 9, Outcome.WAITING: 5}, unfinished=True), DONE)
    await run(client, sap)
    assert sap.pauses() == [0]


async def test_service_manager_is_left_alone_for_as_long_as_it_asks_also_if_a_person_is_impatient(
    client: Client,
) -> None:
    sap = Sap(REFUSAL.model_copy(update={"retry_after": 7200.0}), DONE)
    async with started(client, sap) as handle:
        while not sap.at:
            await asyncio.sleep(0.02)
        await handle.signal(ReclaimWorkflow.look_again)
        await handle.result()
    assert sap.pauses() == [7200]


async def test_it_gives_up_when_its_time_is_over_and_the_report_says_what_is_left(client: Client) -> None:
    sap = Sap(REFUSAL)
    result = await run(client, sap, reclaim_for=timedelta(days=2))
    assert result.left == 1 and result.told == [REFUSED]
    assert "given up after 48h" in result.ended and "1 existing bindings" in result.ended
    assert 48 < len(sap.at) < 70 and sap.ends[0].left == 1
    assert (sap.at[-1] - sap.at[0]) <= timedelta(days=2)


async def test_a_cluster_that_is_away_all_the_time_is_waited_for_and_then_given_up(client: Client) -> None:
    sap = Sap(ApplicationError("get configmaps: no answer", type="Unavailable"))
    result = await run(client, sap, reclaim_for=timedelta(hours=3))
    assert "given up after 3h" in result.ended and "no answer" in result.ended
    assert 10 < len(sap.at) < 40


async def test_a_secret_that_is_away_is_waited_for(client: Client) -> None:
    sap = Sap(Round(trouble="Secret kyma-system/sap-btp-reclaim does not exist"), DONE)
    assert (await run(client, sap)).reclaimed == 1
    assert sap.pauses() == [5]


async def test_what_is_only_shown_ends_after_one_look_and_is_no_event(client: Client) -> None:
    told = REFUSED.model_copy(update={"outcome": Outcome.WOULD_GO})
    sap = Sap(Round(counts={Outcome.WOULD_GO: 1, Outcome.WAITING: 3}, told=[told]))
    result = await run(client, sap, only_show=True)
    assert (result.told, len(sap.at), sap.ends) == ([told], 1, [])
    assert sap.inputs[0].only_show


async def test_what_a_round_has_proven_the_next_one_knows(client: Client) -> None:
    sap = Sap(REFUSAL.model_copy(update={"proven": True}), DONE)
    await run(client, sap, cluster_digest="digest")
    assert [input.proven for input in sap.inputs] == [False, True]
    assert {(input.ref, input.cluster, input.cluster_digest) for input in sap.inputs} == {
        (REF, "cluster-uid", "digest")
    }


async def test_a_signal_ends_the_pause(temporal: Client) -> None:
    sap = Sap(REFUSAL, DONE)
    async with started(temporal, sap) as handle:
        while not sap.at:
            await asyncio.sleep(0.02)
        await handle.signal(ReclaimWorkflow.look_again)
        await handle.result()
    assert sap.pauses()[0] < 5


async def test_a_cancellation_stops_the_round_before_the_workflow_ends(temporal: Client) -> None:
    sap = Sap(DONE)
    sap.hangs = True
    async with started(temporal, sap) as handle:
        while not sap.at:
            await asyncio.sleep(0.02)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError) and sap.stopped and sap.ends == []


async def test_an_input_that_claims_to_be_under_way_gets_no_more_time_than_a_new_one(temporal: Client) -> None:
    never = {"ends": "9999-12-31T00:00:00Z", "pause": "PT5S"}
    async with started(temporal, Sap(REFUSAL), so_far=never) as handle:
        ends = (await handle.query(ReclaimWorkflow.progress)).ends
        began = (await handle.describe()).start_time
        await handle.terminate()
    assert ends and timedelta(days=7) <= ends - began < timedelta(days=7, minutes=1)


async def test_a_long_history_is_left_behind_with_everything_that_counts(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.calls.LONGEST_HISTORY", 5)
    monkeypatch.setattr("workflows.reclaim.FIRST_PAUSE", timedelta(milliseconds=10))
    sap = Sap(*[Round(counts={Outcome.RECLAIMED: 1, Outcome.REFUSED: 1}, told=[REFUSED])] * 3, REFUSAL, DONE)
    async with started(temporal, sap) as handle:
        result = await handle.result()
        first = await temporal.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).describe()
        progress = await handle.query(ReclaimWorkflow.progress)
    assert (result.reclaimed, result.left) == (4, 0)
    assert first.status and first.status.name == "CONTINUED_AS_NEW"
    assert progress.ends and abs(progress.ends - first.start_time - timedelta(days=7)) < timedelta(seconds=5)
