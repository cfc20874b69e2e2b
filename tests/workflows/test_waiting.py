"""Whoever waits for a while can be stopped at any moment, also in the one in which the wait is over."""

import asyncio
import uuid
from datetime import timedelta

from temporalio import workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from workflows.calls import stop
from workflows.waiting import until


@workflow.defn
class Stopped:
    """Waits for a signal, at whose arrival somebody else stops the wait."""

    def __init__(self) -> None:
        self._come = False

    @workflow.signal
    def come(self) -> None:
        self._come = True

    @workflow.run
    async def run(self) -> str:
        went_on = False

        async def wait() -> None:
            nonlocal went_on
            await until(lambda: self._come, timedelta(minutes=5))
            went_on = True

        waiting = asyncio.create_task(wait())
        await workflow.wait_condition(lambda: self._come)
        await stop(waiting)
        return "went on" if went_on else "stopped"


@workflow.defn
class Waiting:
    """Waits for what never comes."""

    @workflow.run
    async def run(self) -> bool:
        return await until(lambda: False, timedelta(minutes=5))


async def test_a_wait_is_stopped_in_the_very_moment_in_which_it_would_be_over(skipping: WorkflowEnvironment) -> None:
    queue = uuid.uuid4().hex
    async with Worker(
        skipping.client, task_queue=queue, workflows=[Stopped], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        handle = await skipping.client.start_workflow(Stopped.run, id=queue, task_queue=queue)
        await handle.signal(Stopped.come)
        assert await handle.result() == "stopped"


async def test_a_wait_for_what_does_not_come_ends_after_its_time(skipping: WorkflowEnvironment) -> None:
    queue = uuid.uuid4().hex
    async with Worker(
        skipping.client, task_queue=queue, workflows=[Waiting], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        began = await skipping.get_current_time()
        assert not await skipping.client.execute_workflow(Waiting.run, id=queue, task_queue=queue)
        assert await skipping.get_current_time() - began >= timedelta(minutes=5)
