"""Connects both ends and follows the cluster until it is told to stop."""

import asyncio

import structlog
from prometheus_client import REGISTRY

from dispatch.nudger import Nudger
from kube.client import Kube
from models.operators import OperatorRef
from runtime.connect import connect
from runtime.identity import wait_for_identity
from runtime.pages import pages
from runtime.process import leave, run
from runtime.settings import SettingsError, TriggerSettings
from runtime.telemetry import SdkTelemetry
from trigger.nudges import Nudges
from trigger.watcher import Watcher

log = structlog.get_logger(__name__)


async def main(settings: TriggerSettings) -> None:
    """The trigger's whole life, until it is cancelled."""
    try:
        kube = await Kube.from_environment()
    except ValueError as error:
        raise SettingsError(str(error)) from error
    nudger: list[Nudger] = []

    async def deliver(ref: OperatorRef) -> None:
        deleting = watcher.deleting(ref)
        if deleting is None:
            await nudger[0].report_gone(ref)
        else:
            await nudger[0].nudge(ref, deleting)

    nudges, sdk = Nudges(deliver), SdkTelemetry()
    watcher = Watcher(kube, nudges)

    REGISTRY.register(watcher.metrics())

    def ready() -> str:
        away = "" if nudger else "waiting for Temporal"
        return "; ".join(filter(None, (away, watcher.unsynced(), nudges.trouble)))

    try:
        async with (
            pages(settings.health_address, settings.metrics_address, watcher.silent, ready, sdk),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(watcher.run())  # what changes before Temporal is there is kept
            here = await wait_for_identity(kube, settings)
            client = await connect(sdk.runtime, settings)
            limits, teardown = settings.limits(), settings.operand_teardown
            nudger.append(Nudger(client, here.task_queue, here.cluster, limits, teardown))
            tasks.create_task(nudges.run())
            log.info("watching", task_queue=here.task_queue, cluster=here.cluster, api_server=kube.host)
    except* SettingsError as group:
        raise group.exceptions[0] from None
    finally:
        await kube.close()


if __name__ == "__main__":
    leave(run("trigger", TriggerSettings, main))
