"""Nudge every BtpOperator now and then: the backstop if every trigger is dead, and what rechecks a CR in Error."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.resync import ResyncActivities
    from models.names import RESYNC_WORKFLOW
    from models.resync import ResyncInput, ResyncResult
    from workflows.calls import long, needs_input


@workflow.defn(name=RESYNC_WORKFLOW)
class ResyncWorkflow:
    """Started by the Schedule `btp-manager-resync`."""

    @workflow.init
    @needs_input
    def __init__(self, input: ResyncInput) -> None:
        pass

    @workflow.run
    async def run(self, input: ResyncInput) -> ResyncResult:
        return await workflow.execute_activity_method(
            ResyncActivities.nudge_operators,
            input,
            # The next resync begins anew anyway.
            **long(timedelta(minutes=5), timedelta(minutes=2), "nudge every BtpOperator"),
        )
