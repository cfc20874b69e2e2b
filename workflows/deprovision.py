"""Take a BtpOperator, and all that came with it, out of the cluster. It always ends, and always says what it waits for.

Hard delete has its budget, kept by the Temporal server. Refused for good or out of time, soft delete follows: the
operand's finalizer off, and what is thereby abandoned in SAP BTP reported by name. Our own finalizer goes last.
"""

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.hard_delete import HardDeleteActivities
    from activities.responsibility import ResponsibilityActivities
    from activities.service_objects import ServiceObjectActivities
    from activities.soft_delete import SoftDeleteActivities
    from activities.status import StatusActivities
    from activities.teardown import TeardownActivities
    from models.conditions import Reason
    from models.durations import show_duration
    from models.names import ABANDONED_CONFIGMAP, DELETION_REQUESTED, DEPROVISION_WORKFLOW, KYMA_NAMESPACE, LOOK_AGAIN
    from models.workflow_io import (
        DeletionMode,
        DeprovisionResult,
        Finding,
        HardDeleteInput,
        OperandTeardown,
        OperatorInput,
        ReleaseKind,
        Remaining,
        Removed,
        SoftDeleteResult,
        TeardownInput,
        WarningInput,
    )
    from workflows.steps import LONG, QUICK, explain, ran_out_of_time, said, set_status

ABANDONED: Final = f"{KYMA_NAMESPACE}/{ABANDONED_CONFIGMAP}"
CALM: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
"""Inside the budget an attempt follows the other soon: each watches for a minute anyway."""
TELL_FIRST: Final = timedelta(seconds=2)
TELL_LAST: Final = timedelta(seconds=60)
"""How often progress is told: soon at first, then seldom enough to keep the history small."""


@workflow.defn(name=DEPROVISION_WORKFLOW)
class DeprovisionWorkflow:
    """Run with the CR's one workflow id, also as the continuation of its ProvisionWorkflow."""

    @workflow.init
    def __init__(self, input: OperatorInput) -> None:
        self._ref = input.ref
        self._limits = input.limits
        self._removed = Removed()
        self._abandoned = SoftDeleteResult()
        self._gave_up = ""
        self._operand_gone = False

    @workflow.signal(name=LOOK_AGAIN)
    def look_again(self) -> None:
        """Changes seen during a deletion are its own doing; it ends, and the next-oldest CR is nudged then."""

    @workflow.signal(name=DELETION_REQUESTED)
    def deletion_requested(self) -> None:
        """Said again: it is under way."""

    @workflow.run
    async def run(self, input: OperatorInput) -> DeprovisionResult:
        began = workflow.now()
        kind = await workflow.execute_local_activity_method(ResponsibilityActivities.release_kind, self._ref, **QUICK)
        mode = DeletionMode.NONE
        if kind is ReleaseKind.DEPROVISION:
            mode = await self._remove_all(input.operand_teardown)
        if kind in (ReleaseKind.DEPROVISION, ReleaseKind.LET_GO):
            await workflow.execute_local_activity_method(ResponsibilityActivities.disclaim, self._ref, **QUICK)
        return DeprovisionResult(
            outcome=kind,
            mode=mode,
            hard_delete_ended=self._gave_up,
            removed=self._removed + self._abandoned.removed,
            abandoned_total=self._abandoned.abandoned_total,
            abandoned=self._abandoned.abandoned,
            began=began,
            seconds=round((workflow.now() - began).total_seconds(), 3),
        )

    async def _remove_all(self, teardown: OperandTeardown) -> DeletionMode:
        try:
            left = await self._remaining()
            await self._say(Reason.HARD_DELETING, str(left))
            if teardown is OperandTeardown.FIRST or (teardown is OperandTeardown.AUTO and left.none):
                await self._remove_operand()
            mode = DeletionMode.HARD
            if not left.none and not await self._hard_delete():
                mode = DeletionMode.SOFT
                await self._say(Reason.SOFT_DELETING, f"hard delete ended: {self._gave_up}")
            # From here on nothing can be deleted the hard way: the operand goes. Objects made since the last look,
            # or left by a hard delete that gave up, are let go. Usually there are none.
            if not self._operand_gone:
                await self._remove_operand()
            await self._soft_delete()
            await self._remove_resources()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            finding = explain(error) or Finding(reason=Reason.RESOURCE_REMOVAL_FAILED, message=said(error))
            await self._say(Reason.RESOURCE_REMOVAL_FAILED, finding.message)
            raise ApplicationError(finding.message, type=Reason.RESOURCE_REMOVAL_FAILED.value) from error
        return DeletionMode.SOFT if self._abandoned.abandoned_total else mode

    async def _hard_delete(self) -> bool:
        """True when every service object is seen gone; False when it gave up, with the reason kept."""
        budget = self._limits.hard_delete_timeout
        deleting = workflow.start_activity_method(
            HardDeleteActivities.hard_delete,
            HardDeleteInput(ref=self._ref),
            schedule_to_close_timeout=budget,  # the promise: this long in all, whatever restarts
            start_to_close_timeout=timedelta(seconds=90),  # an attempt ends by itself after a minute
            summary=f"hard delete, at most {show_duration(budget)}",
            **{**LONG, "retry_policy": CALM},
        )
        telling = asyncio.create_task(self._tell_progress())
        try:
            self._removed += await deleting
            return True
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            late = f"not done within {show_duration(budget)}; " if ran_out_of_time(error) else ""
            self._gave_up = late + said(error)
            return False
        finally:
            telling.cancel()

    async def _tell_progress(self) -> None:
        """Keep the CR's message and the workflow's details true while hard delete runs."""
        ends = workflow.now() + self._limits.hard_delete_timeout
        pause = TELL_FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, TELL_LAST)
            left = await self._remaining()
            budget = show_duration(max(ends - workflow.now(), timedelta()))
            await self._say(Reason.HARD_DELETING, f"{left}; soft delete follows in {budget} at the latest")

    async def _remaining(self) -> Remaining:
        return await workflow.execute_local_activity_method(ServiceObjectActivities.remaining, self._ref, **QUICK)

    async def _remove_operand(self) -> None:
        self._removed += await workflow.execute_activity_method(
            TeardownActivities.remove_operand,
            self._teardown(),
            schedule_to_close_timeout=self._limits.delete_request_timeout,
            start_to_close_timeout=timedelta(minutes=1),
            summary="remove the operand's webhooks and Deployment",
            **LONG,
        )
        self._operand_gone = True

    async def _soft_delete(self) -> None:
        self._abandoned = await workflow.execute_activity_method(
            SoftDeleteActivities.soft_delete,
            self._teardown(),
            schedule_to_close_timeout=self._limits.delete_request_timeout * 4,
            start_to_close_timeout=self._limits.delete_request_timeout * 4,
            summary="let go what is left of the service objects",
            **LONG,
        )
        if total := self._abandoned.abandoned_total:
            first = ", ".join(f"{entry.kind} {entry.namespace}/{entry.name}" for entry in self._abandoned.abandoned[:3])
            message = f"{total} service objects may live on in SAP BTP: {first}; ConfigMap {ABANDONED} names all"
            warning = WarningInput(ref=self._ref, reason="ServiceObjectsAbandoned", message=message)
            await workflow.execute_local_activity_method(StatusActivities.warn, warning, **QUICK)

    async def _remove_resources(self) -> None:
        self._removed += await workflow.execute_activity_method(
            TeardownActivities.remove_resources,
            self._teardown(),
            schedule_to_close_timeout=self._limits.delete_request_timeout,
            start_to_close_timeout=timedelta(minutes=1),
            summary="remove everything that the chart installed",
            **LONG,
        )

    def _teardown(self) -> TeardownInput:
        return TeardownInput(ref=self._ref)

    async def _say(self, reason: Reason, message: str) -> None:
        workflow.set_current_details(f"Removing BtpOperator `{self._ref}`\n\n**{reason.value}**: {message}")
        await set_status(self._ref, Finding(reason=reason, message=message))
