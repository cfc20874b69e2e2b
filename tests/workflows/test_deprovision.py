"""What DeprovisionWorkflow decides. The twenty minutes pass in no time on Temporal's time-skipping server."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from dispatch.search_attributes import SEARCH_ATTRIBUTES
from models.conditions import Reason
from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind
from models.limits import OperandTeardown
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
    assert world.diary == [
        "restore operand",
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
    assert world.diary[-5:] == [
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


async def test_an_error_for_good_ends_hard_delete_at_once(skipping: WorkflowEnvironment) -> None:
    world = World(instances=2, hard_delete_fails=refused(Reason.RESOURCE_REMOVAL_FAILED, "forbidden"))
    result = await run(skipping, world)
    assert result.seconds < 60
    assert (result.mode, result.hard_delete_ended) == (DeletionMode.SOFT, "forbidden")


async def test_a_passing_error_is_tried_again_within_the_budget(skipping: WorkflowEnvironment) -> None:
    world = World(instances=2, hard_delete_fails=ApplicationError("the API server is away", type="Unavailable"))
    result = await run(skipping, world, hard_delete_timeout=timedelta(minutes=2))
    assert world.diary.count("hard delete") > 10
    assert result.mode is DeletionMode.SOFT and "the API server is away" in result.hard_delete_ended


@pytest.mark.parametrize(
    ("teardown", "instances", "first"),
    [
        (OperandTeardown.FIRST, 2, "remove operand"),
        (OperandTeardown.LAST, 0, "remove operand"),
        (OperandTeardown.LAST, 2, "restore operand"),
        (OperandTeardown.AUTO, 0, "remove operand"),
        (OperandTeardown.AUTO, 2, "restore operand"),
    ],
)
async def test_the_operand_goes_when_the_policy_says(
    skipping: WorkflowEnvironment, teardown: OperandTeardown, instances: int, first: str
) -> None:
    world = World(instances=instances)
    await run(skipping, world, teardown)
    assert world.diary[0] == first and world.diary.count("remove operand") == 1
    assert ("restore operand" in world.diary) == (first == "restore operand")


async def test_an_operand_that_cannot_be_restored_is_said_and_the_budget_decides(
    skipping: WorkflowEnvironment,
) -> None:
    fails = refused(Reason.MISSING_SECRET, "Secret s does not exist")
    world = World(instances=3, instances_go=False, operand_lost=True, restore_fails=fails)
    result = await run(skipping, world)
    told = [message for message in world.messages if "cannot be restored: Secret s does not exist" in message]
    assert told and "Deployment sap-btp-operator-controller-manager does not exist" in told[0]
    assert 10 < world.diary.count("restore operand") < 40
    assert result.mode is DeletionMode.SOFT and 19 * 60 <= result.seconds <= 20 * 60 + 5


async def test_what_cannot_be_removed_for_good_is_named_and_fails_the_workflow(skipping: WorkflowEnvironment) -> None:
    world = World(removal_fails=refused(Reason.RESOURCE_REMOVAL_FAILED, "CustomResourceDefinition c: forbidden"))
    with pytest.raises(WorkflowFailureError) as error:
        await run(skipping, world)
    assert isinstance(error.value.cause, ApplicationError)
    assert error.value.cause.type == Reason.RESOURCE_REMOVAL_FAILED
    assert world.reasons[-1] is Reason.RESOURCE_REMOVAL_FAILED
    assert world.messages[-1] == "CustomResourceDefinition c: forbidden"
    assert "remove finalizer" not in world.diary


@pytest.mark.parametrize("kind", [ReleaseKind.GONE, ReleaseKind.ALIVE])
async def test_nothing_is_touched_for_a_cr_that_is_gone_or_alive(
    skipping: WorkflowEnvironment, kind: ReleaseKind
) -> None:
    world = World(release=kind, instances=2)
    result = await run(skipping, world)
    assert result.outcome is kind and world.diary == [] and world.reasons == []


@pytest.mark.parametrize("refused", ["assess_deletion", "remove_finalizer"])
async def test_a_right_that_is_missing_is_said_on_the_cr(skipping: WorkflowEnvironment, refused: str) -> None:
    world = World(refused=refused)
    with pytest.raises(WorkflowFailureError):
        await run(skipping, world)
    assert (world.reasons[-1], world.messages[-1]) == (Reason.RESOURCE_REMOVAL_FAILED, f"{refused}: forbidden (403)")


async def test_a_cr_that_is_not_responsible_is_only_let_go(skipping: WorkflowEnvironment) -> None:
    world = World(release=ReleaseKind.LET_GO, instances=2)
    await run(skipping, world)
    assert world.diary == ["remove finalizer"] and world.instances == 2


def test_the_search_attributes_are_the_three_that_people_filter_by() -> None:
    assert {key.name for key in SEARCH_ATTRIBUTES} == {"BtpOperatorState", "BtpOperatorNamespace", "BtpOperatorName"}
