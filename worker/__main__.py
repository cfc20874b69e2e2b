"""Builds every client once, wires activities and workflows, and serves the task queue until it is told to stop."""

import asyncio
from datetime import timedelta
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.registry import all_activities
from kube.client import Kube
from operand.rendering import ChartRenderer
from runtime.connect import connect
from runtime.pages import pages
from runtime.process import leave, run
from runtime.settings import SettingsError, WorkerSettings
from runtime.telemetry import SdkTelemetry
from worker.schedule import ensure_resync
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow
from workflows.resync import ResyncWorkflow

WORKFLOWS = [ProvisionWorkflow, DeprovisionWorkflow, ResyncWorkflow]
log = structlog.get_logger(__name__)


async def main(settings: WorkerSettings) -> None:
    """The worker's whole life, until it is cancelled."""
    renderer = ChartRenderer(settings.chart_path, settings.operand_image, settings.operand_rbac)
    try:
        renderer.check()
        kube = await Kube.from_environment()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    trouble, sdk = ["waiting for Temporal"], SdkTelemetry()

    def ready() -> str:
        return "; ".join(trouble)

    try:
        async with pages(settings.health_address, settings.metrics_address, lambda: "", ready, sdk):
            client = await connect(sdk.runtime, settings, partial(ensure_resync, settings))
            async with build_worker(client, kube, renderer, settings.task_queue, versioning(settings)):
                trouble.clear()
                log.info("serving", task_queue=settings.task_queue, cluster=kube.host)
                await asyncio.Event().wait()
    finally:
        await kube.close()


def build_worker(
    client: Client,
    kube: Kube,
    renderer: ChartRenderer,
    task_queue: str,
    versioning: WorkerDeploymentConfig | None = None,
) -> Worker:
    """The Temporal worker with everything in it."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=WORKFLOWS,
        activities=all_activities(kube, renderer, client, task_queue),
        # Workflow code imports only what is deterministic; importing it anew for every run would only cost time.
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_all_modules()
        ),
        # Cancellations travel with heartbeats: a deletion must not wait long for a chart apply to stop.
        max_heartbeat_throttle_interval=timedelta(milliseconds=500),
        default_heartbeat_throttle_interval=timedelta(milliseconds=500),
        # A run whose worker died is taken up by another one soon.
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=2),
        graceful_shutdown_timeout=timedelta(seconds=3),
        deployment_config=versioning,
    )


def versioning(settings: WorkerSettings) -> WorkerDeploymentConfig | None:
    """Worker versioning, if a deployment name is set; docs/decisions/0004-worker-versioning.md has the reasons."""
    if not settings.deployment_name:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.deployment_name, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


if __name__ == "__main__":
    leave(run("worker", WorkerSettings, main))
