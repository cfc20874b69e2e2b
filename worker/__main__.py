"""Builds every client once, wires activities and workflows, and serves the task queue until it is told to stop."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from activities.registry import all_activities
from kube.client import Kube
from models.limits import Bounds
from operand.rendering import ChartRenderer
from runtime.connect import Temporal
from runtime.contacts import Contact, api_server, said
from runtime.identity import wait_for_identity
from runtime.operand_chart import renderer_of
from runtime.pages import pages
from runtime.polls import Polls
from runtime.process import leave, run
from runtime.settings import SettingsError, WorkerSettings
from runtime.telemetry import SdkTelemetry
from worker.build import build_id
from worker.schedule import ROLLED_OUT, ensure_resync, restore_resync, resync_once_more
from worker.task_queue import count_pollers
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow
from workflows.reclaim import ReclaimWorkflow
from workflows.resync import ResyncWorkflow
from workflows.unknown import UnknownWorkflow

WORKFLOWS = [ProvisionWorkflow, DeprovisionWorkflow, ResyncWorkflow, ReclaimWorkflow, UnknownWorkflow]
log = structlog.get_logger(__name__)


async def main(settings: WorkerSettings) -> None:
    """Connect to the cluster and to Temporal, then serve the task queue until cancelled."""
    try:
        renderer = await renderer_of(settings)
        kube = await Kube.from_environment()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    sdk = SdkTelemetry()
    serving = asyncio.Event()

    def ready() -> str:
        return said("" if serving.is_set() else "not serving yet", *(each.trouble for each in contacts))

    def alive() -> str:
        return said(*(each.refused_for_long for each in contacts))

    try:
        temporal = Temporal(sdk.runtime, settings)
        contacts = [temporal.contact, Contact("Temporal's answers to polls", Polls(sdk).ask), api_server(kube)]
        async with (
            pages(settings.health_address, settings.metrics_address, alive, ready, sdk),
            asyncio.TaskGroup() as tasks,
        ):
            for each in contacts:
                tasks.create_task(each.follow())
            here = await wait_for_identity(kube, settings)
            made, kept = partial(ensure_resync, settings, here), partial(restore_resync, settings, here)
            await temporal.connect(made, keep=[kept, partial(count_pollers, here)])
            async with build_worker(
                temporal.client,
                kube,
                renderer,
                here.task_queue,
                temporal.listed,
                settings.bounds(),
                settings.any_address,
                settings.installation,
            ) as worker:
                temporal.tell(partial(setattr, worker, "client"))
                serving.set()
                log.info("serving", task_queue=here.task_queue, cluster=here.cluster, api_server=kube.host)
                await asyncio.sleep(ROLLED_OUT.total_seconds())
                await resync_once_more(here, temporal.client)
                await asyncio.Event().wait()
    finally:
        await kube.close()


def build_worker(
    client: Client,
    kube: Kube,
    renderer: ChartRenderer,
    task_queue: str,
    listed: bool = True,
    bounds: Bounds | None = None,
    any_address: bool = False,
    place: str = "",
) -> Worker:
    """The Temporal worker with everything in it."""
    activities = all_activities(kube, renderer, task_queue, listed, bounds, any_address, place)
    return worker_with(client, task_queue, activities)


def worker_with(
    client: Client,
    task_queue: str,
    activities: Sequence[Callable[..., Any]],
    executor: ThreadPoolExecutor | None = None,
) -> Worker:
    """The Temporal worker with our workflows, and options that fit them, whatever its activities work on."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=activities,
        workflow_task_executor=executor,
        build_id=build_id(),
        # The sandbox imports workflow code anew for every run, and does not reach into the modules that it passes
        # through. That nothing is called which a replay would do differently is proven by lint (banned-api).
        workflow_runner=UnsandboxedWorkflowRunner(),
        # Each heartbeat is a write of the server's. More would not find a dead worker sooner (DEAD_AFTER); what must
        # be noticed sooner, above all that a CR no longer asks for what is done, is watched (operand/mandated.py).
        max_heartbeat_throttle_interval=timedelta(seconds=3),
        # Open polls cost Temporal memory, and count towards its limit for a namespace. The server asks for more of them
        # when work waits.
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(initial=2),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(initial=1),
        # A run whose worker died is taken up by another one soon.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=timedelta(seconds=3),
    )


if __name__ == "__main__":
    leave(run("worker", WorkerSettings, main))
