"""The Schedule that starts a resync now and then. Made or brought up to date by every worker that starts."""

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from dispatch.names import DEFAULT_TASK_QUEUE
from models.names import RESYNC_SCHEDULE, RESYNC_WORKFLOW
from models.resync import ResyncInput
from runtime.settings import Settings


async def ensure_resync(settings: Settings, client: Client) -> None:
    """Have the Schedule as the settings say. Idempotent; several workers may do it at once."""
    identity = schedule_id(settings.task_queue)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            RESYNC_WORKFLOW,
            ResyncInput(limits=settings.limits(), operand_teardown=settings.operand_teardown),
            id=identity,
            task_queue=settings.task_queue,
            static_summary="Nudge every BtpOperator",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=settings.resync_interval)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    try:
        await client.create_schedule(identity, schedule)
    except ScheduleAlreadyRunningError:

        def replace(current: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule.state = current.description.schedule.state  # a pause by a person stays
            return ScheduleUpdate(schedule=schedule)

        await client.get_schedule_handle(identity).update(replace)


def schedule_id(task_queue: str) -> str:
    """One Schedule for each cluster of a fleet."""
    return RESYNC_SCHEDULE if task_queue == DEFAULT_TASK_QUEUE else f"{task_queue}/{RESYNC_SCHEDULE}"
