"""Deletions that must not take service objects along without a word from a person. On the dev server."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client

from models.conditions import Reason
from models.deprovision import DeletionMode
from models.limits import DeletionPolicy
from models.names import DELETION_REQUESTED
from tests.workflows.world import World, an_input, lost, serving
from workflows.deprovision import DeprovisionWorkflow


@asynccontextmanager
async def deleting(client: Client, world: World, policy: DeletionPolicy) -> AsyncIterator[Any]:
    async with serving(client, world) as task_queue:
        yield await client.start_workflow(
            DeprovisionWorkflow.run, an_input(deletion=policy), id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )


async def says(world: World, text: str) -> None:
    async with asyncio.timeout(20):
        while not world.messages or text not in world.messages[-1]:
            await asyncio.sleep(0.05)


REFUSED = [
    pytest.param(DeletionPolicy.CONFIRM, False, id="by the policy"),
    pytest.param(DeletionPolicy.CASCADE, True, id="by the manager of before"),
]


@pytest.mark.parametrize(("policy", "before"), REFUSED)
async def test_a_deletion_without_confirmation_touches_nothing_counts_and_goes_on_with_the_label(
    temporal: Client, policy: DeletionPolicy, before: bool
) -> None:
    world = World(instances=3, refused_before=before)
    async with deleting(temporal, world, policy) as handle:
        await says(world, "3 ServiceInstances left: ServiceInstance ns/a; nothing is deleted until")
        assert world.reasons == [Reason.NOT_CLEANED] and world.called == []
        world.instances = 2
        await says(world, "2 ServiceInstances left")
        assert world.called == []
        world.confirmed = True
        await handle.signal(DELETION_REQUESTED)
        result = await asyncio.wait_for(handle.result(), 20)
    assert (result.mode, result.removed.instances) == (DeletionMode.HARD, 2)


async def test_it_goes_on_by_itself_when_the_last_service_object_is_gone(temporal: Client) -> None:
    world = World(instances=1)
    async with deleting(temporal, world, DeletionPolicy.CONFIRM) as handle:
        await says(world, "nothing is deleted until")
        world.instances = 0
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.abandoned_total == 0 and world.called[-1] == "remove finalizer"


async def test_an_operand_that_is_lost_while_it_waits_is_restored(temporal: Client) -> None:
    world = World(instances=1, operand_lost=True)
    async with deleting(temporal, world, DeletionPolicy.CONFIRM) as handle:
        await says(world, "nothing is deleted until")
        async with asyncio.timeout(10):
            while "restore operand" not in world.called:
                await asyncio.sleep(0.05)
        world.instances = 0
        await handle.result()


async def test_a_deletion_that_began_is_not_stopped_by_taking_the_label_off(temporal: Client) -> None:
    world = World(instances=2, confirmed=True, hard_delete_fails=lost("the run ends here"))
    async with deleting(temporal, world, DeletionPolicy.CONFIRM) as handle:
        await handle.result()
    assert world.record is not None
    world.confirmed, world.hard_delete_fails = False, None
    async with deleting(temporal, world, DeletionPolicy.CONFIRM) as handle:
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.mode is DeletionMode.HARD and Reason.NOT_CLEANED not in world.reasons
