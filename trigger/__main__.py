"""Connects both ends and follows the cluster until it is told to stop."""

import asyncio

import structlog
from prometheus_client import REGISTRY

from dispatch.nudger import Nudger
from kube.client import Kube
from models.operators import OperatorRef
from runtime.connect import Temporal
from runtime.contacts import api_server, said
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
    sdk = SdkTelemetry()

    async def deliver(ref: OperatorRef) -> None:
        deleting = watcher.deleting(ref)
        nudger = Nudger(
            client=temporal.client,
            task_queue=here.task_queue,
            cluster=here.cluster,
            limits=settings.limits(),
            operand_teardown=settings.operand_teardown,
            listed=temporal.listed,
            deletion=settings.deletion,
        )
        if deleting is None:
            await nudger.report_gone(ref)
        else:
            await nudger.nudge(ref, deleting)

    nudges = Nudges(deliver)
    watcher = Watcher(kube, nudges)

    REGISTRY.register(watcher.metrics())

    def ready() -> str:
        return said(*(each.trouble for each in contacts), watcher.unsynced(), nudges.trouble)

    def alive() -> str:
        return said(watcher.silent(), *(each.refused_for_long for each in contacts))

    try:
        temporal = Temporal(sdk.runtime, settings)
        contacts = [temporal.contact, api_server(kube)]
        async with (
            pages(settings.health_address, settings.metrics_address, alive, ready, sdk),
            asyncio.TaskGroup() as tasks,
        ):
            for each in contacts:
                tasks.create_task(each.follow())
            tasks.create_task(watcher.run())  # what changes before Temporal is there is kept
            here = await wait_for_identity(kube, settings)
            await temporal.connect()
            tasks.create_task(nudges.run())
            log.info("watching", task_queue=here.task_queue, cluster=here.cluster, api_server=kube.host)
    finally:
        await kube.close()


if __name__ == "__main__":
    leave(run("trigger", TriggerSettings, main))
