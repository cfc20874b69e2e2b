"""What people can do to a deletion that waits, and what a flood of events does to a workflow. On the dev server."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import PauseActivityRequest, ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from localcluster.temporal import TemporalServer
from models.conditions import Reason
from models.deletion_record import LONGEST_HOLD, ExtendRequest, Hold, HoldRequest, ResumeRequest
from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind
from models.limits import DeletionPolicy
from models.names import DELETION_REQUESTED, LOOK_AGAIN
from models.provision import ProvisionOutcome, ProvisionResult
from runtime.connect import data_converter
from runtime.settings import WorkerSettings
from tests.workflows.world import World, an_input, runs_of, serving
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow

LONGEST_RUN = 2000


ABSURD: list[tuple[str, Any, str]] = [
    ("extend", {"minutes": 0, "by": "a", "why": "b"}, "minutes: Input should be greater than or equal to 1"),
    ("extend", {"minutes": 10**9, "by": "a", "why": "b"}, "minutes: Input should be less than or equal to 1440"),
    ("extend", {"minutes": "NaN", "by": "a", "why": "b"}, "minutes: Input should be a valid integer"),
    ("extend", {"minutes": 5, "why": "b"}, "by: Field required"),
    ("extend", {"minutes": 5, "by": " \x1b", "why": "b"}, "by: Value error, say who asks: the report names them"),
    ("hold", {"by": "a", "why": "\u202e"}, "why: Value error, say why: the report gives the reason"),
    ("hold", {"by": "x" * 201, "why": "b"}, "by: String should have at most 200 characters"),
    ("hold", {"by": "a", "why": "x" * 1_000_000}, "why: String should have at most 500 characters"),
    ("resume", "alice", "Input should be an object"),
    ("resume", None, "a payload is nothing where an object is needed"),
    ("resume", {"by": "a"}, "nothing to resume: nobody holds it"),
]


@asynccontextmanager
async def deleting(client: Client, **limits: Any) -> AsyncIterator[tuple[World, Any]]:
    """A hard delete that waits for something that does not come by itself."""
    world = World(instances=3, let_hard_delete_end=asyncio.Event())
    async with serving(client, world) as task_queue:
        handle = await client.start_workflow(
            DeprovisionWorkflow.run, an_input(**limits), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.hard_deleting.wait()
        yield world, handle


async def test_progress_tells_what_is_waited_for_and_until_when(temporal: Client) -> None:
    async with deleting(temporal) as (_world, handle):
        progress = await handle.query(DeprovisionWorkflow.progress)
        assert progress.reason is Reason.HARD_DELETING
        assert "3 ServiceInstances left: ServiceInstance ns/a" in progress.message
        description = await handle.describe()
        assert progress.budget_ends - description.start_time > timedelta(minutes=19)
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "test")


async def test_retry_now_asks_again_at_once_and_grants_no_further_time(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        before = await handle.query(DeprovisionWorkflow.progress)
        assert "3 ServiceInstances left" in await handle.execute_update(DeprovisionWorkflow.retry_now)
        while world.called.count("hard delete") < 2:
            await asyncio.sleep(0.05)
        assert (await handle.query(DeprovisionWorkflow.progress)).budget_ends == before.budget_ends
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        result = await handle.result()
    assert (result.mode, result.removed.instances) == (DeletionMode.HARD, 3)


async def test_an_operand_that_is_lost_while_it_has_to_delete_is_restored_and_this_is_said(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        world.operand_lost = True
        while "the operand was restored: Deployment kyma-system/operand" not in world.messages[-1]:
            await asyncio.sleep(0.05)
        assert "restore operand" in world.called and not world.operand_lost
        assert any("Deployment sap-btp-operator-controller-manager does not exist" in each for each in world.messages)
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "test")


async def test_skip_to_soft_delete_is_done_and_the_report_says_who_asked(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "alice, on call")
        result = await handle.result()
    assert (result.mode, result.skipped_by, result.abandoned_total) == (DeletionMode.SOFT, "alice, on call", 3)
    assert world.because.startswith("alice, on call asked for soft delete; 0 ServiceBindings and 3 ServiceInstances")
    assert world.because == result.hard_delete_ended


async def test_an_intervention_that_makes_no_sense_is_refused_with_the_reason(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        assert await refusal(handle, DeprovisionWorkflow.skip_to_soft_delete, "  ") == (
            "say who asks: the report names them"
        )
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "test")
        await handle.result()
    world = World(release=world.release, let_hard_delete_end=None, instances=0)
    world.removal_fails = ApplicationError("not yet")
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        while "remove resources" not in world.called:
            await asyncio.sleep(0.05)
        assert await refusal(handle, DeprovisionWorkflow.retry_now) == "nothing to retry: hard delete is not running"
        world.removal_fails = None
        await handle.result()


async def test_a_person_gives_a_deletion_more_time_and_everybody_is_told_who_and_why(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        before = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        for_half_an_hour = ExtendRequest(minutes=30, by="alice", why="the broker is\nmaintained")
        said = await handle.execute_update(DeprovisionWorkflow.extend, for_half_an_hour)
        after = await handle.query(DeprovisionWorkflow.progress)
        assert after.budget_ends == before + timedelta(minutes=30)
        assert said.startswith("alice extended hard delete by 30m (the broker is maintained); soft delete follows at ")
        assert world.events == [f"DeletionExtended: {said}"]
        assert "alice extended it by 30m at " in after.message and after.message == world.messages[-1]
        assert world.record and world.record.hard_delete_ends == after.budget_ends
        details = await handle.query("__temporal_workflow_metadata")
        assert "alice extended it by 30m" in details.current_details
        await until(lambda: world.called.count("hard delete") == 2)  # under the new deadline
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "bob")
        result = await handle.result()
    assert len(result.asked) == 1 and result.asked[0] in world.because == result.hard_delete_ended


@pytest.mark.long
async def test_a_held_deletion_goes_on_behind_its_deadline_and_ends_soon_after_it_is_resumed(temporal: Client) -> None:
    limits = {"hard_delete_timeout": timedelta(seconds=5), "last_attempt": timedelta(seconds=1)}
    async with deleting(temporal, **limits) as (world, handle):
        deadline = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        said = await handle.execute_update(DeprovisionWorkflow.hold, HoldRequest(by="alice", why="a ticket"))
        held = await handle.query(DeprovisionWorkflow.progress)
        assert "the hold ends by itself at" in said and f"until {held.held_until:%Y-%m-%d %H:%M:%S} UTC" in held.message
        assert world.record
        assert held.budget_ends == deadline + (held.held_until - world.record.holds[0].since)
        await until(lambda: datetime.now(UTC) > deadline + timedelta(seconds=1))
        assert world.record.soft_delete_began is None and world.called[-1] != "soft delete"
        await handle.execute_update(DeprovisionWorkflow.resume, ResumeRequest(by="bob"))
        assert (await handle.query(DeprovisionWorkflow.progress)).held_until is None
        result = await handle.result()
    assert result.mode is DeletionMode.SOFT
    assert "alice held it from " in world.because and "(a ticket), resumed by bob" in world.because


async def test_the_next_run_knows_what_people_asked_of_the_last_and_a_hold_ends_by_itself(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        await handle.execute_update(DeprovisionWorkflow.hold, HoldRequest(by="alice", why="a ticket"))
        before = await handle.query(DeprovisionWorkflow.progress)
        await handle.terminate("a person's doubt")
        world.hard_deleting.clear()
        latest = await again(temporal, handle)
        await world.hard_deleting.wait()
        after = await latest.query(DeprovisionWorkflow.progress)
        assert (after.budget_ends, after.held_until) == (before.budget_ends, before.held_until)
        refused = await refusal(latest, DeprovisionWorkflow.hold, HoldRequest(by="bob", why="another"))
        assert refused.startswith("alice holds it already, until ")
        await latest.terminate("a day passes")
        assert world.record
        began = datetime.now(UTC) - LONGEST_HOLD
        world.record.holds[0] = Hold(since=began, ends=began + LONGEST_HOLD, by="alice", why="a ticket")
        world.record.hard_delete_ends = datetime.now(UTC) + timedelta(seconds=2)
        result = await (await again(temporal, handle, last_attempt=timedelta(seconds=1))).result()
    assert result.mode is DeletionMode.SOFT and "alice held it from " in world.because


async def again(client: Client, handle: Any, **limits: Any) -> Any:
    """Another run of the same deletion, as the trigger starts it."""
    queue = (await handle.describe()).task_queue
    return await client.start_workflow(DeprovisionWorkflow.run, an_input(**limits), id=handle.id, task_queue=queue)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not so():
            await asyncio.sleep(0.05)


async def test_more_time_is_refused_with_the_reason(temporal_server: TemporalServer) -> None:
    ours = await Client.connect(temporal_server.address, data_converter=data_converter(WorkerSettings()))
    async with deleting(ours) as (world, handle):
        for update, request, sentence in ABSURD:
            assert sentence in await refusal(handle, update, request)
        assert world.record and not world.record.extensions and not world.record.holds
        await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "test")
        await handle.result()


async def refusal(handle: Any, update: Any, *args: Any) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as error:
        await handle.execute_update(update, *args)
    assert isinstance(error.value.cause, ApplicationError)
    return error.value.cause.message


@pytest.mark.load
@pytest.mark.timeout(300)
async def test_three_thousand_events_on_a_cr_keep_every_run_short_and_the_last_one_is_seen(temporal: Client) -> None:
    world = World()
    async with serving(temporal, world) as task_queue:
        identity = f"test/{uuid.uuid4()}"
        await flood(temporal, ProvisionWorkflow, identity, task_queue, LOOK_AGAIN, bursts=30)
        result = await temporal.get_workflow_handle(identity, result_type=ProvisionResult).result()
    assert result.outcome is ProvisionOutcome.READY
    assert await longest_run(temporal, identity) < LONGEST_RUN


@pytest.mark.load
@pytest.mark.timeout(300)
async def test_three_thousand_events_during_a_deletion_keep_every_run_short_and_its_budget_as_it_was(
    temporal: Client,
) -> None:
    async with deleting(temporal) as (world, handle):
        budget = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        await flood(temporal, DeprovisionWorkflow, handle.id, "unused", DELETION_REQUESTED, bursts=30)
        latest = temporal.get_workflow_handle(handle.id, result_type=DeprovisionResult)
        while (await latest.query(DeprovisionWorkflow.progress)).reason is None:
            await asyncio.sleep(0.05)
        assert (await latest.query(DeprovisionWorkflow.progress)).budget_ends == budget
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        result = await latest.result()
    assert result.mode is DeletionMode.HARD and result.began is not None
    assert await longest_run(temporal, handle.id) < LONGEST_RUN


async def flood(client: Client, workflow: Any, identity: str, task_queue: str, signal: str, bursts: int) -> None:
    """Bursts of 100 signals each; the trigger, which sends four a second for each CR at most, is calmer than this."""

    async def say() -> None:
        await client.start_workflow(
            workflow.run,
            an_input(),
            id=identity,
            task_queue=task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=signal,
        )

    for _ in range(bursts):
        await asyncio.gather(*(say() for _ in range(100)))
        await asyncio.sleep(0.1)


async def longest_run(client: Client, identity: str) -> int:
    """Events in the longest of all runs under this id; all of them ended well."""
    runs = await runs_of(client, identity)
    fine = (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CONTINUED_AS_NEW)
    assert [run.status for run in runs if run.status not in fine] == []
    longest = max(run.history_length for run in runs)
    print(f"{len(runs)} runs, the longest of {longest} events")
    return longest


async def pause(client: Client, handle: Any) -> None:
    """Pause the activity that runs, as a person may in Temporal."""
    (pending,) = (await handle.describe()).raw_description.pending_activities
    await client.workflow_service.pause_activity(
        PauseActivityRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=handle.id),
            identity="test",
            id=pending.activity_id,
        )
    )


@pytest.mark.long
async def test_a_paused_activity_cannot_let_the_budget_pass_without_a_real_try(temporal: Client) -> None:
    limits = {"hard_delete_timeout": timedelta(seconds=8), "last_attempt": timedelta(seconds=30)}
    async with deleting(temporal, **limits) as (world, handle):
        await pause(temporal, handle)
        async with asyncio.timeout(20):
            while not any("the last attempt ends in" in message for message in world.messages):
                await asyncio.sleep(0.1)
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        result = await asyncio.wait_for(handle.result(), 30)
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0)


@pytest.mark.parametrize("policy", DeletionPolicy)
async def test_a_paused_restoring_of_the_operand_is_said_and_neither_ends_the_budget_nor_the_run(
    temporal: Client, monkeypatch: pytest.MonkeyPatch, policy: DeletionPolicy
) -> None:
    monkeypatch.setattr("workflows.restoration.RESTORING", timedelta(seconds=1))
    restoring, goes_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        restoring.set()
        while not goes_on.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)

    world = World(instances=3, operand_lost=True, on_restore=hang, let_hard_delete_end=asyncio.Event())
    assert world.let_hard_delete_end
    async with serving(temporal, world) as task_queue:
        input = an_input().model_copy(update={"deletion": policy})
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, input, id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await restoring.wait()
        await pause(temporal, handle)
        if policy is DeletionPolicy.CASCADE:
            async with asyncio.timeout(30):
                while not any("cannot be restored" in each for each in world.messages):
                    await asyncio.sleep(0.1)
        else:
            await asyncio.sleep(7)  # longer than the workflow's own timer
            world.confirmed = True
            goes_on.set()
            await handle.signal(DELETION_REQUESTED)
        goes_on.set()
        world.let_hard_delete_end.set()
        result = await asyncio.wait_for(handle.result(), 30)
    assert result.mode is DeletionMode.HARD and not any("last attempt" in message for message in world.messages)


async def test_a_change_of_the_cr_ends_the_pause_after_an_attempt_that_failed(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.hard_delete_phase.TELL_FIRST", timedelta(hours=1))  # which may try again, too
    fails = ApplicationError("forbidden", type=Reason.RESOURCE_REMOVAL_FAILED, non_retryable=True)
    world = World(instances=3, hard_delete_fails=fails, fails_times=1)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        async with asyncio.timeout(20):
            while not any("another one follows: forbidden" in message for message in world.messages):
                await asyncio.sleep(0.05)
        await handle.signal(DELETION_REQUESTED)
        result = await handle.result()
        events = (await handle.fetch_history()).events
    pauses = {
        event.event_id: event.timer_started_event_attributes.start_to_fire_timeout.seconds
        for event in events
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
    }
    fired = [
        pauses[event.timer_fired_event_attributes.started_event_id]
        for event in events
        if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED
    ]
    assert result.mode is DeletionMode.HARD and 30 in pauses.values() and 30 not in fired


async def test_a_deletion_that_is_cancelled_while_a_look_is_tried_again_says_that_a_person_stopped_it(
    temporal: Client,
) -> None:
    world = World(instances=3, refused="assess_deletion", refused_as="Unavailable")
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        async with asyncio.timeout(40):
            while not (await handle.describe()).raw_description.pending_activities:
                await asyncio.sleep(0.2)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 30)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert world.messages[-1].startswith("a person stopped this deletion in Temporal")


@pytest.mark.long
async def test_a_paused_step_of_a_deletion_begins_again_after_its_limit(temporal: Client) -> None:
    world = World(let_removal_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run,
            an_input(delete_request_timeout=timedelta(seconds=5)),
            id=f"test/{uuid.uuid4()}",
            task_queue=task_queue,
        )
        await world.removing.wait()
        await pause(temporal, handle)
        async with asyncio.timeout(20):
            while world.called.count("remove resources") < 2:
                await asyncio.sleep(0.1)
        assert any("nobody could work on it; it begins again" in message for message in world.messages)
        assert world.let_removal_end
        world.let_removal_end.set()
        result = await asyncio.wait_for(handle.result(), 30)
    assert result.outcome is ReleaseKind.DEPROVISION


@pytest.mark.long
async def test_a_paused_apply_ends_in_words_after_its_limit(temporal: Client) -> None:
    world = World(let_apply_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            ProvisionWorkflow.run,
            an_input(ready_timeout=timedelta(seconds=5)),
            id=f"test/{uuid.uuid4()}",
            task_queue=task_queue,
        )
        await world.applying.wait()
        await pause(temporal, handle)
        result = await asyncio.wait_for(handle.result(), 30)
    assert result.outcome is ProvisionOutcome.NOT_READY
    assert world.messages[-1] == "not ready within 5s: the activity was not carried on; is it paused in Temporal?"


async def test_a_reset_run_goes_on_under_the_deadline_that_the_cr_says(temporal: Client) -> None:
    async with deleting(temporal) as (world, handle):
        before = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        events = [event async for event in handle.fetch_history_events()]
        done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
        first = next(event.event_id for event in events if event.event_type == done)
        await temporal.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace=temporal.namespace,
                workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id or ""),
                reason="a person's doubt",
                workflow_task_finish_event_id=first,
                request_id=str(uuid.uuid4()),
            )
        )
        latest = temporal.get_workflow_handle(handle.id, result_type=DeprovisionResult)
        async with asyncio.timeout(20):
            while world.called.count("hard delete") < 2:
                await asyncio.sleep(0.1)
        assert (await latest.query(DeprovisionWorkflow.progress)).budget_ends == before
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        assert (await latest.result()).mode is DeletionMode.HARD
