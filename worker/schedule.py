"""The Schedule that starts a resync now and then. Made or brought up to date by every worker that starts."""

import hashlib
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Gauge
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from dispatch.names import schedule_id
from models.names import RESYNC_WORKFLOW
from models.resync import ResyncInput
from runtime.identity import Identity
from runtime.settings import Settings, SettingsError

ROLLED_OUT: Final = timedelta(minutes=1)
"""After this long the workers that a new one replaces are usually gone."""
PAUSED: Final = Gauge("btp_resync_paused", "Whether somebody has paused the Schedule of resyncs: 1, else 0")
CLUSTER: Final = "cluster"
"""The memo that says whose Schedule it is."""
log = structlog.get_logger(__name__)


async def ensure_resync(settings: Settings, here: Identity, client: Client) -> None:
    """Have the Schedule as the settings say. Idempotent; several workers may do it at once.

    Raises:
        SettingsError: the task queue is another cluster's.
    """
    identity = schedule_id(here.task_queue)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            RESYNC_WORKFLOW,
            ResyncInput(
                cluster=here.cluster,
                limits=settings.limits(),
                operand_teardown=settings.operand_teardown,
                deletion=settings.deletion,
            ),
            id=identity,
            task_queue=here.task_queue,
            execution_timeout=settings.resync_interval,  # one that nobody takes must not stand in the next one's way
            static_summary="Nudge every BtpOperator",
        ),
        spec=ScheduleSpec(
            intervals=[
                ScheduleIntervalSpec(
                    every=settings.resync_interval, offset=offset(here.cluster, settings.resync_interval)
                )
            ]
        ),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(identity, schedule, memo={CLUSTER: here.cluster}, trigger_immediately=True)
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(identity)
        await _refuse_another_cluster(await handle.describe(), here)

        def replace(current: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule.state = current.description.schedule.state  # a pause by a person stays
            return ScheduleUpdate(schedule=schedule)

        await handle.update(replace)
        await handle.trigger()  # whatever changed while no worker ran is looked at now, with the chart of this worker


async def resync_once_more(here: Identity, client: Client) -> None:
    """Look at every CR once more: a worker of before may have put back its own chart and values."""
    try:
        await client.get_schedule_handle(schedule_id(here.task_queue)).trigger()
    except RPCError as error:
        log.info("no look after the rollout; the next resync is one", error=error.message)


async def restore_resync(settings: Settings, here: Identity, client: Client) -> None:
    """Where the Schedule is lost, all of Temporal's data may be: make it again, and look at every CR at once.

    Raises:
        RPCError: Temporal is away.
    """
    try:
        found = await client.get_schedule_handle(schedule_id(here.task_queue)).describe()
        PAUSED.set(found.schedule.state.paused)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        log.warning("the Schedule of resyncs was lost; every BtpOperator is looked at", id=schedule_id(here.task_queue))
        await ensure_resync(settings, here, client)


async def end_resync(here: Identity, client: Client) -> bool:
    """Delete the Schedule, and say whether there was one. A worker that runs makes it again.

    Raises:
        SettingsError: the task queue is another cluster's.
        RPCError: Temporal does not do it.
    """
    handle = client.get_schedule_handle(schedule_id(here.task_queue))
    try:
        await _refuse_another_cluster(await handle.describe(), here)
        await handle.delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def offset(cluster: str, interval: timedelta) -> timedelta:
    """When in the interval a cluster's resync starts: a fleet's Schedules spread over it instead of meeting."""
    digest = hashlib.sha256(cluster.encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) % max(int(interval.total_seconds()), 1))


async def _refuse_another_cluster(found: ScheduleDescription, here: Identity) -> None:
    """Two clusters on one task queue would work for each other's CRs."""
    other = await found.memo_value(CLUSTER, default="")
    if other != here.cluster:
        raise SettingsError(
            f"BTP_TASK_QUEUE: task queue {here.task_queue} serves cluster {other or 'unknown'}, and this is cluster "
            f"{here.cluster}; name another queue, or, if that cluster is gone, take the queue over by "
            f"`temporal schedule delete --schedule-id {found.id}` and start again"
        )
