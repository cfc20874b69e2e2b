"""What a worker keeps an eye on in Temporal: that its Schedule is there and runs, and who takes work from its queue.

A Temporal that comes back without its data gets its Schedule again, and has every CR looked at.
"""

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from temporalio import activity
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dispatch.names import schedule_id
from runtime.identity import Identity
from runtime.settings import SettingsError, WorkerSettings
from tests.conftest import Eventually
from worker.schedule import end_resync, ensure_resync, offset, restore_resync, resync_once_more
from worker.task_queue import count_pollers
from workflows.resync import ResyncWorkflow


async def test_a_lost_schedule_is_made_again_with_a_resync_at_once_and_one_that_stands_is_left_alone(
    temporal: Client, task_queue: str, eventually: Eventually
) -> None:
    async def triggered_once() -> bool:
        # The server answers the trigger before its Schedule has counted the action.
        return (await handle.describe()).info.num_actions == 1

    settings, here = WorkerSettings(), Identity("some-cluster", task_queue)
    await ensure_resync(settings, here, temporal)
    handle = temporal.get_schedule_handle(schedule_id(task_queue))
    made = await handle.describe()
    await restore_resync(settings, here, temporal)
    left_alone = await handle.describe()
    assert (left_alone.info.created_at, left_alone.info.num_actions) == (made.info.created_at, made.info.num_actions)
    await handle.delete()
    await asyncio.sleep(1.1)  # the id of an action's workflow is its time in whole seconds: two in one second are one
    await restore_resync(settings, here, temporal)
    await eventually(triggered_once)


async def test_the_server_keeps_the_schedule_as_it_was_meant_spread_by_cluster_and_with_an_end_for_each_run(
    temporal: Client, task_queue: str
) -> None:
    handle = temporal.get_schedule_handle(schedule_id(task_queue))
    here = Identity("some-cluster", task_queue)
    for minutes in (15, 20):  # made, and brought up to date
        interval = timedelta(minutes=minutes)
        await ensure_resync(WorkerSettings(resync_interval=interval), here, temporal)
        found = (await handle.describe()).schedule
        (spec,) = found.spec.intervals
        assert (spec.every, spec.offset) == (interval, offset("some-cluster", interval)) and spec.offset
        assert isinstance(found.action, ScheduleActionStartWorkflow)
        assert found.action.execution_timeout == interval
        assert found.policy.overlap is ScheduleOverlapPolicy.SKIP
    await handle.delete()


async def test_a_paused_schedule_stays_paused_and_is_a_metric(temporal: Client, task_queue: str) -> None:
    settings, here = WorkerSettings(), Identity("some-cluster", task_queue)
    await ensure_resync(settings, here, temporal)
    handle = temporal.get_schedule_handle(schedule_id(task_queue))
    await restore_resync(settings, here, temporal)
    assert REGISTRY.get_sample_value("btp_resync_paused") == 0
    await handle.pause(note="a person's doing")
    await restore_resync(settings, here, temporal)
    assert (await handle.describe()).schedule.state.paused
    assert REGISTRY.get_sample_value("btp_resync_paused") == 1
    await handle.delete()


async def test_the_resync_is_ended_once_and_only_by_the_cluster_that_it_belongs_to(
    temporal: Client, task_queue: str
) -> None:
    here = Identity("some-cluster", task_queue)
    await ensure_resync(WorkerSettings(), here, temporal)
    with pytest.raises(SettingsError, match="serves cluster some-cluster, and this is cluster another"):
        await end_resync(Identity("another", task_queue), temporal)
    assert await end_resync(here, temporal)
    assert not await end_resync(here, temporal)


async def test_whoever_polls_the_task_queue_is_counted(
    temporal: Client, task_queue: str, eventually: Eventually
) -> None:
    async def both_are_counted() -> bool:
        await count_pollers(here, temporal)
        return REGISTRY.get_sample_value("btp_task_queue_pollers") == 2

    here = Identity("some-cluster", task_queue)
    await count_pollers(here, temporal)
    assert REGISTRY.get_sample_value("btp_task_queue_pollers") == 0
    another = await Client.connect(temporal.service_client.config.target_host, identity="a stranger")

    @activity.defn
    async def whatever_comes() -> None: ...

    runner = UnsandboxedWorkflowRunner()
    ours = Worker(temporal, task_queue=task_queue, workflows=[ResyncWorkflow], workflow_runner=runner)
    stranger = Worker(another, task_queue=task_queue, activities=[whatever_comes])  # enough to carry out deletions
    async with ours, stranger:
        await eventually(both_are_counted)


async def test_once_the_workers_of_before_are_gone_every_cr_is_looked_at_again(
    temporal: Client, task_queue: str, eventually: Eventually
) -> None:
    async def triggered(times: int) -> bool:
        return (await handle.describe()).info.num_actions == times

    here = Identity("some-cluster", task_queue)
    handle = temporal.get_schedule_handle(schedule_id(task_queue))
    await resync_once_more(here, temporal)  # nothing is there: the next resync is a look, too
    await ensure_resync(WorkerSettings(), here, temporal)
    await eventually(lambda: triggered(1))
    for run in (await handle.describe()).info.running_actions:  # as a worker would have ended it
        assert isinstance(run, ScheduleActionExecutionStartWorkflow)
        await temporal.get_workflow_handle(run.workflow_id).terminate()
    await asyncio.sleep(1.1)
    await resync_once_more(here, temporal)
    await eventually(lambda: triggered(2))
