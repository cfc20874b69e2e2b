"""Connects both ends and follows the cluster until it is told to stop."""

import asyncio

import structlog
from prometheus_client import REGISTRY

from dispatch.nudger import Nudger
from kube.client import Kube
from models.operators import OperatorRef
from runtime.connect import connect
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
        if deleting is not None:
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
            client = await connect(sdk.runtime, settings)
            nudger.append(Nudger(client, settings.task_queue, settings.limits(), settings.operand_teardown))
            tasks.create_task(nudges.run())
            log.info("watching", task_queue=settings.task_queue, cluster=kube.host)
    except* SettingsError as group:
        raise group.exceptions[0] from None
    finally:
        await kube.close()


if __name__ == "__main__":
    leave(run("trigger", TriggerSettings, main))
