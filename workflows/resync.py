"""Nudge every BtpOperator now and then: the backstop if every trigger is dead, and what rechecks a CR in Error."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.resync import ResyncActivities
    from models.names import RESYNC_WORKFLOW
    from models.resync import ResyncInput, ResyncResult
    from workflows.steps import LONG


@workflow.defn(name=RESYNC_WORKFLOW)
class ResyncWorkflow:
    """Started by the Schedule `btp-manager-resync`."""

    @workflow.run
    async def run(self, input: ResyncInput) -> ResyncResult:
        return await workflow.execute_activity_method(
            ResyncActivities.nudge_all,
            input,
            schedule_to_close_timeout=timedelta(minutes=5),  # the next resync begins anew anyway
            start_to_close_timeout=timedelta(minutes=2),
            summary="nudge every BtpOperator",
            **LONG,
        )
