"""What DeprovisionWorkflow decides. The twenty minutes pass in no time on Temporal's time-skipping server."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from dispatch.search_attributes import SEARCH_ATTRIBUTES
from models.conditions import Reason
from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind
from models.limits import OperandTeardown
from models.names import MANDATE_LOST
from models.status import StatusInput
from tests.workflows.world import World, an_input, refused, serving
from workflows.deprovision import DeprovisionWorkflow


async def run(
    environment: WorkflowEnvironment,
    world: World,
    teardown: OperandTeardown = OperandTeardown.AUTO,
    **limits: Any,
) -> DeprovisionResult:
    async with serving(environment.client, world) as task_queue:
        return await environment.client.execute_workflow(
            DeprovisionWorkflow.run, an_input(teardown, **limits), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )


async def test_hard_delete_that_succeeds_abandons_nothing(skipping: WorkflowEnvironment) -> None:
    world = World(instances=3)
    result = await run(skipping, world)
    assert (result.mode, result.removed.instances, result.abandoned_total) == (DeletionMode.HARD, 3, 0)
    assert world.called == [
        "hard delete",
        "remove operand",
        "soft delete",
        "remove resources",
        "remove finalizer",
    ]
    assert Reason.SOFT_DELETING not in world.reasons


async def test_what_others_keep_is_said_once_the_operand_is_done_and_no_soft_delete_is_announced(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=1, kept=["ServiceInstance ns/a (kept by example.com/theirs)"])
    result = await run(skipping, world)
    assert world.messages[-1] == "released by the operand: ServiceInstance ns/a (kept by example.com/theirs)"
    assert result.mode is DeletionMode.HARD and Reason.SOFT_DELETING not in world.reasons


async def test_the_result_counts_also_what_went_while_nobody_looked(skipping: WorkflowEnvironment) -> None:
    result = await run(skipping, World(instances=3, count_is_lost=True))
    assert (result.mode, result.removed.instances) == (DeletionMode.HARD, 3)


async def test_soft_delete_starts_when_the_twenty_minutes_are_over_and_not_before(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=3, instances_go=False)
    result = await run(skipping, world)
    assert 19 * 60 <= result.seconds <= 20 * 60 + 5  # attempts are a minute apart here
    assert result.mode is DeletionMode.SOFT and result.abandoned_total == 3
    assert [entry.name for entry in result.abandoned] == ["a"]
    assert "not done within 20m" in result.hard_delete_ended and "ns/a" in result.hard_delete_ended
    assert world.called[-5:] == [
        "remove operand",
        "soft delete",
        "event ServiceObjectsAbandoned",
        "remove resources",
        "remove finalizer",
    ]
    assert world.reasons[-1] is Reason.SOFT_DELETING


async def test_a_shorter_budget_is_kept_too(skipping: WorkflowEnvironment) -> None:
    result = await run(skipping, World(instances=1, instances_go=False), hard_delete_timeout=timedelta(minutes=3))
    assert 2 * 60 <= result.seconds <= 3 * 60 + 5


async def test_while_it_waits_the_status_says_what_for_and_how_long_at_most(skipping: WorkflowEnvironment) -> None:
    world = World(instances=3, instances_go=False)
    await run(skipping, world)
    told = [message for message in world.messages if "soft delete follows in" in message]
    assert told[0].startswith(
        "0 ServiceBindings and 3 ServiceInstances left: ServiceInstance ns/a; soft delete follows"
    )
    assert len(told) > 10 and len(set(told)) == len(told)


async def test_a_failure_for_good_does_not_end_hard_delete_it_is_said_and_another_attempt_follows(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, hard_delete_fails=refused(Reason.RESOURCE_REMOVAL_FAILED, "forbidden"), fails_times=3)
    result = await run(skipping, world)
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0)
    assert world.called.count("hard delete") == 4
    assert any("an attempt failed, another one follows: forbidden" in message for message in world.messages)


async def test_a_hard_delete_that_never_does_more_than_fail_lasts_its_budget_and_one_last_attempt(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, hard_delete_fails=refused(Reason.RESOURCE_REMOVAL_FAILED, "forbidden"))
    result = await run(skipping, world, hard_delete_timeout=timedelta(minutes=3), last_attempt=timedelta(minutes=1))
    assert 4 * 60 <= result.seconds < 5 * 60
    assert result.mode is DeletionMode.SOFT
    assert "a last attempt of 1m" in result.hard_delete_ended and "forbidden" in result.hard_delete_ended


async def test_a_passing_error_is_tried_again_within_the_budget(skipping: WorkflowEnvironment) -> None:
    world = World(instances=2, hard_delete_fails=ApplicationError("the API server is away", type="Unavailable"))
    result = await run(skipping, world, hard_delete_timeout=timedelta(minutes=2))
    assert world.called.count("hard delete") > 10
    assert result.mode is DeletionMode.SOFT and "the API server is away" in result.hard_delete_ended


@pytest.mark.parametrize(
    ("teardown", "instances", "first"),
    [
        (OperandTeardown.FIRST, 2, "remove operand"),
        (OperandTeardown.LAST, 0, "remove operand"),
        (OperandTeardown.LAST, 2, "hard delete"),
        (OperandTeardown.AUTO, 0, "remove operand"),
        (OperandTeardown.AUTO, 2, "hard delete"),
    ],
)
async def test_the_operand_goes_when_the_policy_says(
    skipping: WorkflowEnvironment, teardown: OperandTeardown, instances: int, first: str
) -> None:
    world = World(instances=instances)
    await run(skipping, world, teardown)
    assert world.called[0] == first and world.called.count("remove operand") == 1


async def test_an_operand_that_stands_deletes_at_once_and_all_of_it_is_restored_where_that_leads_nowhere(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=3, instances_go=False)
    await run(skipping, world)
    assert world.called[:2] == ["hard delete", "restore operand"]
    assert world.called.count("restore operand") == 1


async def test_an_operand_that_cannot_be_restored_is_said_and_the_budget_decides(
    skipping: WorkflowEnvironment,
) -> None:
    fails = refused(Reason.MISSING_SECRET, "Secret s does not exist")
    world = World(instances=3, instances_go=False, operand_lost=True, restore_fails=fails)
    result = await run(skipping, world)
    told = [message for message in world.messages if "cannot be restored: Secret s does not exist" in message]
    assert told and "Deployment sap-btp-operator-controller-manager does not exist" in told[0]
    assert 10 < world.called.count("restore operand") < 40
    assert result.mode is DeletionMode.SOFT and 19 * 60 <= result.seconds <= 20 * 60 + 5


async def test_what_a_removal_waits_for_is_said_each_time_it_is_something_else_and_nothing_counts_twice(
    skipping: WorkflowEnvironment,
) -> None:
    waits = ["waiting for a, b to be gone", "waiting for b to be gone"]
    world = World(removal_waits=list(waits))
    result = await run(skipping, world)
    text = "removing everything that the chart installed"
    assert [message for message in world.messages if text in message] == [f"{text}: {wait}" for wait in waits]
    assert [(input.told, input.removed.resources) for input in world.removal_inputs] == [
        ("", 0),
        (waits[0], 11),
        (waits[1], 11),
    ]
    assert result.removed.resources == 14


async def test_what_the_api_server_keeps_refusing_for_the_whole_limit_is_named_and_ends_the_run(
    skipping: WorkflowEnvironment,
) -> None:
    """Every attempt was answered, so this was tried: such as a webhook of somebody else's that nobody serves."""
    answered = datetime.now(UTC) + timedelta(days=1)
    trouble = 'Role r cannot be removed: failed calling webhook "theirs"'
    world = World(removal_fails=ApplicationError(trouble, answered, type="Passing"))
    with pytest.raises(WorkflowFailureError) as failed:
        await run(skipping, world)
    assert trouble in str(failed.value.cause)
    assert world.messages[-1] == trouble and not any("begins again" in message for message in world.messages)


async def test_what_cannot_be_removed_for_good_is_named_and_fails_the_workflow(skipping: WorkflowEnvironment) -> None:
    world = World(removal_fails=refused(Reason.RESOURCE_REMOVAL_FAILED, "CustomResourceDefinition c: forbidden"))
    with pytest.raises(WorkflowFailureError) as error:
        await run(skipping, world)
    assert isinstance(error.value.cause, ApplicationError)
    assert error.value.cause.type == Reason.RESOURCE_REMOVAL_FAILED
    assert world.reasons[-1] is Reason.RESOURCE_REMOVAL_FAILED
    assert world.messages[-1] == "CustomResourceDefinition c: forbidden"
    assert "remove finalizer" not in world.called


@pytest.mark.parametrize("kind", [ReleaseKind.GONE, ReleaseKind.ALIVE])
async def test_nothing_is_touched_for_a_cr_that_is_gone_or_alive(
    skipping: WorkflowEnvironment, kind: ReleaseKind
) -> None:
    world = World(release=kind, instances=2)
    result = await run(skipping, world)
    assert result.outcome is kind and world.called == [] and world.reasons == []


@pytest.mark.parametrize("refused", ["assess_deletion", "remove_finalizer"])
async def test_a_right_that_is_missing_is_said_on_the_cr(skipping: WorkflowEnvironment, refused: str) -> None:
    world = World(refused=refused)
    with pytest.raises(WorkflowFailureError):
        await run(skipping, world)
    assert (world.reasons[-1], world.messages[-1]) == (Reason.RESOURCE_REMOVAL_FAILED, f"{refused}: forbidden (403)")


async def test_a_cr_that_is_not_responsible_is_only_let_go(skipping: WorkflowEnvironment) -> None:
    world = World(release=ReleaseKind.LET_GO, instances=2)
    await run(skipping, world)
    assert world.called == ["remove finalizer"] and world.instances == 2


async def test_a_spare_that_becomes_responsible_before_it_is_let_go_takes_the_operand_with_it(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(release=ReleaseKind.LET_GO, older_vanishes=True, instances=2)
    result = await run(skipping, world)
    assert result.outcome is ReleaseKind.DEPROVISION
    assert world.called[-1] == "remove finalizer" and "remove resources" in world.called and world.instances == 0


async def test_a_deletion_that_lost_its_mandate_to_a_cr_that_is_gone_again_goes_on(
    skipping: WorkflowEnvironment,
) -> None:
    lost = ApplicationError("another is responsible", type=MANDATE_LOST, non_retryable=True)
    world = World(instances=2, older_vanishes=True, hard_delete_fails=lost, fails_times=1)

    def another_is_responsible(said: StatusInput) -> None:
        if said.finding.reason is Reason.HARD_DELETING and world.older_vanishes:
            world.release = ReleaseKind.LET_GO

    world.on_status = another_is_responsible
    result = await run(skipping, world)
    assert result.outcome is ReleaseKind.DEPROVISION
    assert world.called[-1] == "remove finalizer" and world.instances == 0


def test_the_search_attributes_are_the_three_that_people_filter_by() -> None:
    assert {key.name for key in SEARCH_ATTRIBUTES} == {"BtpOperatorState", "BtpOperatorNamespace", "BtpOperatorName"}


async def test_what_turns_up_when_all_was_deleted_is_let_go_and_reported_before_its_definition_goes(
    skipping: WorkflowEnvironment,
) -> None:
    world = World(instances=2, late=1)
    result = await run(skipping, world)
    assert (result.mode, result.abandoned_total) == (DeletionMode.SOFT, 1)
    assert (result.removed.instances, result.removed.resources) == (3, 14)
    assert any("1 service objects may live on in SAP BTP" in event for event in world.events)
    assert world.called[-4:] == ["soft delete", "event ServiceObjectsAbandoned", "remove resources", "remove finalizer"]
