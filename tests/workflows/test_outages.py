"""Deadlines that nobody could use, runs that a person ended, and CRs that no longer ask: on Temporal's real servers."""

import asyncio
import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import WorkflowEnvironment

from models.conditions import Reason
from models.deletion_record import DeletionRecord
from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind
from models.names import DEFECT
from models.provision import ProvisionOutcome, ProvisionResult
from models.resync import ResyncInput, ResyncResult
from models.status import StatusInput
from tests.workflows.world import World, an_input, lost, refused, serving
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow
from workflows.resync import ResyncWorkflow


async def deprovision(environment: WorkflowEnvironment, world: World, **limits: Any) -> DeprovisionResult:
    async with serving(environment.client, world) as task_queue:
        return await environment.client.execute_workflow(
            DeprovisionWorkflow.run, an_input(**limits), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )


async def provision(environment: WorkflowEnvironment, world: World) -> ProvisionResult:
    async with serving(environment.client, world) as task_queue:
        return await environment.client.execute_workflow(
            ProvisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )


async def test_a_deadline_that_nobody_could_use_is_followed_by_one_last_attempt_and_abandons_nothing(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=3, away=True, returns=22)  # once a minute: back just after the twenty minutes
    result = await deprovision(skipping, world)
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0)
    assert any("one last attempt of 2m" in message for message in world.messages)
    assert world.record is not None and world.record.last_attempt_ends is not None
    assert world.record.soft_delete_began is None


async def test_a_deadline_that_passes_while_nobody_restores_the_operand_is_no_try_either(temporal: Client) -> None:
    """Frozen workers thaw behind it: to ask for the deletion then, for a second, is not to try."""
    world = World(instances=3, operand_lost=True)
    now = datetime.now(UTC)
    world.record = DeletionRecord(began=now - timedelta(minutes=20), hard_delete_ends=now + timedelta(seconds=3))

    async def frozen() -> None:
        world.on_restore = None
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(4)

    world.on_restore = frozen
    async with serving(temporal, world) as task_queue:
        result = await temporal.execute_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0)
    assert any("one last attempt of 2m" in message for message in world.messages)
    assert world.called.count("hard delete") == 1  # within the last attempt


async def test_the_clock_of_the_last_attempt_starts_when_the_cr_says_so_and_not_while_nobody_could_write_it(
    skipping: WorkflowEnvironment,
) -> None:
    """Its time is fixed before it is written down, and the API server may go again in just that moment."""
    world = World(instances=3, away=True, returns=22)
    refusals = 3  # once a minute: longer than the last attempt's two minutes

    def write_down(input: StatusInput) -> None:
        nonlocal refusals
        if input.deletion and input.deletion.last_attempt_ends and refusals:
            if activity.info().is_local:  # whose pauses no server's clock can skip
                raise ApplicationError("the API server is away", type="Unavailable")
            refusals -= 1
            raise ApplicationError("the API server is away", type="Unavailable", next_retry_delay=timedelta(minutes=1))

    world.on_status = write_down
    result = await deprovision(skipping, world)
    assert (result.mode, result.abandoned_total, refusals) == (DeletionMode.HARD, 0, 0)
    assert world.called.count("soft delete") == 1 and world.instances == 0  # which finds nothing to let go
    assert world.record is not None and world.record.soft_delete_began is None


async def test_the_last_attempt_is_granted_once(skipping: WorkflowEnvironment) -> None:
    world = World(instances=3, away=True)
    began = datetime.now(UTC)
    world.record = DeletionRecord(
        began=began - timedelta(hours=1),
        hard_delete_ends=began - timedelta(minutes=30),
        last_attempt_ends=began - timedelta(minutes=1),
    )
    world.returns = 3  # hard delete is tried for a moment, and soft delete finds the API server back
    result = await deprovision(skipping, world)
    assert result.mode is DeletionMode.SOFT and result.abandoned_total == 3
    assert world.called.count("hard delete") <= 2


async def test_a_run_after_a_failed_one_goes_on_in_soft_mode_without_a_fresh_budget(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, instances_go=False)
    world.removal_fails = refused(Reason.RESOURCE_REMOVAL_FAILED, "a definition stays")
    with pytest.raises(WorkflowFailureError):
        await deprovision(skipping, world)
    world.removal_fails, world.instances, tries = None, 1, world.called.count("hard delete")
    result = await deprovision(skipping, world)
    assert world.called.count("hard delete") == tries
    assert result.mode is DeletionMode.SOFT and result.seconds < 60


async def test_a_run_after_a_terminated_one_keeps_the_deadline(skipping: WorkflowEnvironment) -> None:
    world = World(instances=2, instances_go=False)
    now = await skipping.get_current_time()
    world.record = DeletionRecord(began=now - timedelta(minutes=17), hard_delete_ends=now + timedelta(minutes=3))
    result = await deprovision(skipping, world)
    assert result.mode is DeletionMode.SOFT and result.seconds < 4 * 60


async def test_a_deadline_that_somebody_else_wrote_on_the_cr_is_no_later_than_people_may_ask_for(
    temporal: Client,
) -> None:
    """Whoever may write the status of a CR could otherwise have its deletion wait for ever."""
    now, never = datetime.now(UTC), datetime(9999, 12, 31, tzinfo=UTC)
    world = World(instances=2, instances_go=False, record=DeletionRecord(began=now, hard_delete_ends=never))
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.hard_deleting.wait()
        ends = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        await handle.terminate()
    assert ends and ends - now < timedelta(hours=49)
    assert world.record and world.record.hard_delete_ends == ends  # so it is for later runs


async def test_an_outage_does_not_end_in_a_false_verdict_on_provisioning(skipping: WorkflowEnvironment) -> None:
    world = World(away=True, returns=8)  # longer than the five minutes of ready_timeout
    result = await provision(skipping, world)
    assert result.outcome is ProvisionOutcome.READY
    assert Reason.PROVISIONING_FAILED not in world.reasons


async def test_an_outage_does_not_end_in_a_false_verdict_on_a_removal(skipping: WorkflowEnvironment) -> None:
    world = World(away=True, returns=8)
    result = await deprovision(skipping, world)
    assert result.outcome is ReleaseKind.DEPROVISION
    assert Reason.RESOURCE_REMOVAL_FAILED not in world.reasons
    assert any("nobody could work on it" in message for message in world.messages)


@pytest.mark.parametrize("phase", ["hard delete", "remove resources"])
async def test_a_cr_that_no_longer_asks_ends_the_deletion_where_it_stands(
    skipping: WorkflowEnvironment, phase: str
) -> None:
    gone = lost("BtpOperator kyma-system/btpoperator is gone", removed=1 if phase == "hard delete" else 0)
    world = World(instances=2, release=ReleaseKind.DEPROVISION)
    if phase == "hard delete":
        world.hard_delete_fails = gone
    else:
        world.removal_fails = gone
    result = await deprovision(skipping, world)
    assert (result.outcome, result.lost_because) == (ReleaseKind.MANDATE_LOST, gone.message)
    assert world.called[-1] == phase and "remove finalizer" not in world.called
    assert result.removed.instances == (1 if phase == "hard delete" else 2)


async def test_a_cr_that_is_no_longer_responsible_is_let_go_and_takes_nothing_with_it(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, hard_delete_fails=lost("BtpOperator a/b is responsible for the operand"))
    world.on_hard_delete = lambda: setattr(world, "release", ReleaseKind.LET_GO)
    result = await deprovision(skipping, world)
    assert result.outcome is ReleaseKind.MANDATE_LOST
    assert world.called[-2:] == ["hard delete", "remove finalizer"] and world.instances == 2


async def test_a_provisioning_whose_cr_no_longer_asks_looks_again(skipping: WorkflowEnvironment) -> None:
    world = World(apply_fails=lost("BtpOperator kyma-system/btpoperator is being deleted"))
    world.on_look = lambda: setattr(world, "apply_fails", None) if "apply" in world.called else None
    result = await provision(skipping, world)
    assert result.outcome is ProvisionOutcome.READY and world.called.count("assess") == 2
    assert Reason.PROVISIONING_FAILED not in world.reasons


async def test_a_provisioning_that_is_let_down_each_time_says_so_and_ends(temporal: Client) -> None:
    """As where an admission policy of somebody else takes our finalizer off whenever it is put on."""
    why = "our finalizer was removed from BtpOperator kyma-system/btpoperator"
    world = World(apply_fails=lost(why))
    async with serving(temporal, world) as task_queue:
        result = await temporal.execute_workflow(
            ProvisionWorkflow.run,
            an_input(),
            id=f"test/{uuid.uuid4()}",
            task_queue=task_queue,
            execution_timeout=timedelta(seconds=20),
        )
    assert (result.outcome, result.reason, result.message) == (
        ProvisionOutcome.NOT_READY,
        Reason.PROVISIONING_FAILED,
        f"given up twice: {why}",
    )
    assert world.called.count("apply") == 2


async def test_a_defect_in_a_small_look_is_reported_on_the_cr(skipping: WorkflowEnvironment) -> None:
    world = World(refused="add_finalizer", refused_as=DEFECT)
    world.assessment = world.assessment.model_copy(update={"claimed": False})
    result = await provision(skipping, world)
    assert result.outcome is ProvisionOutcome.NOT_READY
    assert world.reasons[-1] is Reason.PROVISIONING_FAILED


async def test_a_count_that_is_refused_is_reported_and_the_deletion_goes_on(skipping: WorkflowEnvironment) -> None:
    world = World(instances=2, instances_go=False, refused="count_service_objects")
    result = await deprovision(skipping, world, hard_delete_timeout=timedelta(minutes=5))
    told = [message for message in world.messages if "cannot be counted: count_service_objects: forbidden" in message]
    assert len(told) > 3 and result.mode is DeletionMode.SOFT


async def test_a_count_that_fails_for_good_though_the_api_server_answers_is_told_and_ends_within_the_budget(
    skipping: WorkflowEnvironment,
) -> None:
    """As where one stored object cannot be read: every list of its kind is answered 500, for ever."""
    world = World(instances=2, instances_go=False, refused="count_service_objects", refused_as="Unavailable")
    result = await deprovision(skipping, world, hard_delete_timeout=timedelta(minutes=5))
    told = [message for message in world.messages if "cannot be counted: count_service_objects: forbidden" in message]
    assert len(told) > 2 and result.mode is DeletionMode.SOFT
    assert result.seconds < 6 * 60


async def test_a_count_that_no_worker_can_make_is_waited_for_and_nothing_is_said_of_it(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, refused="count_service_objects", refused_as="Away")
    world.on_refused = lambda times: setattr(world, "refused", "") if times > 40 else None  # for a minute and more
    result = await deprovision(skipping, world)
    assert result.mode is DeletionMode.HARD
    assert not any("cannot be counted" in message for message in world.messages)


async def test_a_cancelled_deletion_stops_what_runs_and_says_so_on_the_cr(temporal: Client) -> None:
    world = World(instances=3, let_hard_delete_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.hard_deleting.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as error:
            await handle.result()
        description = await handle.describe()
    assert isinstance(error.value.cause, CancelledError)
    assert description.status is WorkflowExecutionStatus.CANCELED
    assert "a person stopped this deletion in Temporal" in world.messages[-1]
    assert world.called[-1] == "hard delete stopped"


async def test_a_deletion_cancelled_in_its_last_step_says_so_and_the_next_run_ends_it(temporal: Client) -> None:
    world = World(let_removal_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        name = f"test/{uuid.uuid4()}"
        handle = await temporal.start_workflow(DeprovisionWorkflow.run, an_input(), id=name, task_queue=task_queue)
        await world.removing.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as error:
            await handle.result()
        assert isinstance(error.value.cause, CancelledError)
        assert "a person stopped this deletion in Temporal" in world.messages[-1]
        assert "remove finalizer" not in world.called
        assert world.let_removal_end
        world.let_removal_end.set()
        result = await temporal.execute_workflow(DeprovisionWorkflow.run, an_input(), id=name, task_queue=task_queue)
    assert result.outcome is ReleaseKind.DEPROVISION and world.called[-1] == "remove finalizer"


async def test_the_run_after_a_deletion_that_was_terminated_goes_on_under_its_deadline(temporal: Client) -> None:
    world = World(instances=3, let_hard_delete_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        name = f"test/{uuid.uuid4()}"
        handle = await temporal.start_workflow(DeprovisionWorkflow.run, an_input(), id=name, task_queue=task_queue)
        await world.hard_deleting.wait()
        before = (await handle.query(DeprovisionWorkflow.progress)).budget_ends
        await handle.terminate("a person")
        world.hard_deleting.clear()
        again = await temporal.start_workflow(DeprovisionWorkflow.run, an_input(), id=name, task_queue=task_queue)
        await world.hard_deleting.wait()
        assert before and (await again.query(DeprovisionWorkflow.progress)).budget_ends == before
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        assert (await again.result()).mode is DeletionMode.HARD


async def test_a_cancelled_provisioning_stops_what_runs_and_says_so_on_the_cr(temporal: Client) -> None:
    world = World(let_apply_end=asyncio.Event(), stopping_takes=1)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            ProvisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.applying.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert world.called[-1] == "apply stopped"
    assert "a person stopped this run in Temporal" in world.messages[-1]


async def test_a_cancelled_resync_stops_what_runs_before_it_ends(temporal: Client) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    @activity.defn
    async def nudge_operators(input: ResyncInput) -> ResyncResult:
        began.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)  # in the middle of a request
            stopped.set()
            raise

    async with serving(temporal, World(), nudge_operators) as task_queue:
        handle = await temporal.start_workflow(
            ResyncWorkflow.run, ResyncInput(cluster="c"), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await began.wait()
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as error:
            await handle.result()
        assert isinstance(error.value.cause, CancelledError) and stopped.is_set()


@pytest.mark.long
async def test_an_absent_api_server_is_waited_for_where_people_see_it_and_without_a_flood_of_events(
    temporal: Client,
) -> None:
    world = World(refused="assess_operator", refused_as="Unavailable")
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            ProvisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        async with asyncio.timeout(20):
            while not (pending := (await handle.describe()).raw_description.pending_activities):
                await asyncio.sleep(0.2)
        assert pending[0].activity_type.name == "assess_operator"
        before = (await handle.describe()).history_length
        await asyncio.sleep(12)
        description = await handle.describe()
        assert "assess_operator: forbidden" in description.raw_description.pending_activities[0].last_failure.message
        assert description.history_length - before <= 1
        world.refused = ""
        assert (await asyncio.wait_for(handle.result(), 20)).outcome is ProvisionOutcome.READY
