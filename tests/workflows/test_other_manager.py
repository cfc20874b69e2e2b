"""Two managers at once: the workflows touch nothing, say why, and go on by themselves. On the dev server."""

import asyncio
import uuid

from temporalio.client import Client

from models.conditions import Reason
from models.names import LOOK_AGAIN
from models.provision import Assessment, ProvisionOutcome, Standing
from models.status import Finding
from tests.workflows.world import World, an_input, serving
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow

RUNS = "the Go manager runs here"


async def says(world: World, reason: Reason, times: int = 1) -> None:
    async with asyncio.timeout(20):
        while world.reasons.count(reason) < times:
            await asyncio.sleep(0.05)


async def test_nothing_is_claimed_or_applied_until_the_other_manager_is_gone(temporal: Client) -> None:
    finding = Finding(reason=Reason.OTHER_MANAGER_RUNS, message=RUNS)
    world = World(assessment=Assessment(standing=Standing.RESPONSIBLE, finding=finding), aside=RUNS)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            ProvisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await says(world, Reason.OTHER_MANAGER_RUNS)
        await handle.signal(LOOK_AGAIN)
        await says(world, Reason.OTHER_MANAGER_RUNS, times=2)
        assert set(world.called) == {"assess"}
        world.assessment, world.aside = Assessment(standing=Standing.RESPONSIBLE), ""
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.outcome is ProvisionOutcome.READY
    assert "add finalizer" in world.called


async def test_nothing_is_deleted_until_it_is_gone_and_then_the_deletion_is_what_it_is(temporal: Client) -> None:
    world = World(instances=1, aside=RUNS, confirmed=True)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await says(world, Reason.OTHER_MANAGER_RUNS)
        assert world.called == []
        world.aside = ""
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.removed.instances == 1 and world.called[-1] == "remove finalizer"


async def test_a_deletion_that_the_other_manager_refused_meanwhile_stays_refused(temporal: Client) -> None:
    world = World(instances=1, aside=RUNS)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        await says(world, Reason.OTHER_MANAGER_RUNS)
        world.refused_before, world.aside = True, ""  # as the CR says then, by either of the two reasons
        await says(world, Reason.NOT_CLEANED)
        assert world.called == []
        await handle.terminate()
