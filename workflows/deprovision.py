"""Take a BtpOperator, and all that came with it, out of the cluster. It always ends, and always says what it waits for.

Hard delete has its budget, kept by the Temporal server. Refused for good or out of time, soft delete follows: the
operand's finalizer off, and what is thereby abandoned in SAP BTP reported by name. Our own finalizer goes last.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Final, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.responsibility import ResponsibilityActivities
    from activities.service_objects import ServiceObjectActivities
    from activities.soft_delete import SoftDeleteActivities
    from activities.status import StatusActivities
    from activities.teardown import TeardownActivities
    from models.conditions import Reason
    from models.deprovision import (
        DeletionMode,
        DeprovisionResult,
        ReleaseKind,
        Remaining,
        Removed,
        SoftDeleteResult,
        TeardownInput,
    )
    from models.limits import OperandTeardown
    from models.names import ABANDONED_CONFIGMAP, DELETION_REQUESTED, DEPROVISION_WORKFLOW, KYMA_NAMESPACE, LOOK_AGAIN
    from models.operator_input import OperatorInput, SoFar
    from models.status import Finding, ProgressReport, WarningInput
    from workflows.hard_delete import HardDelete
    from workflows.steps import LONG, QUICK, count, explain, said, set_status

ABANDONED: Final = f"{KYMA_NAMESPACE}/{ABANDONED_CONFIGMAP}"


@workflow.defn(name=DEPROVISION_WORKFLOW)
class DeprovisionWorkflow:
    """Run with the CR's one workflow id, also as the continuation of its ProvisionWorkflow."""

    @workflow.init
    def __init__(self, input: OperatorInput) -> None:
        self._input = input
        self._ref = input.ref
        self._limits = input.limits
        self._began = input.so_far.began or workflow.now()
        self._hard_delete_ends = input.so_far.hard_delete_ends
        self._removed = input.so_far.removed
        self._found = input.so_far.found
        self._abandoned = SoftDeleteResult()
        self._operand_gone = False
        self._hard = HardDelete(input, self._remaining, partial(self._say, Reason.HARD_DELETING))
        self._progress = ProgressReport()

    @workflow.signal(name=LOOK_AGAIN)
    def look_again(self) -> None:
        """Changes seen during a deletion are its own doing; it ends, and the next-oldest CR is nudged then."""

    @workflow.signal(name=DELETION_REQUESTED)
    def deletion_requested(self) -> None:
        """Said again: it is under way."""

    @workflow.query
    def progress(self) -> ProgressReport:
        """Where the deletion stands."""
        return self._progress

    @workflow.update
    def retry_now(self) -> str:
        """Ask again for everything that is left, at once. The budget stays what it is. Returns what is left."""
        self._hard.try_again = True
        return self._progress.message

    @workflow.update
    def skip_to_soft_delete(self, requested_by: str) -> str:
        """End hard delete now. What is left may live on in SAP BTP; the report says who asked. Returns what is left."""
        self._hard.skipped_by = requested_by.strip()
        return self._progress.message

    @retry_now.validator
    def _can_retry(self) -> None:
        if not self._hard.running:
            raise ValueError("nothing to retry: hard delete is not running")

    @skip_to_soft_delete.validator
    def _can_skip(self, requested_by: str) -> None:
        if not self._hard.running:
            raise ValueError("nothing to skip: hard delete is not running")
        if not requested_by.strip():
            raise ValueError("say who asks: the report names them")

    @workflow.run
    async def run(self, input: OperatorInput) -> DeprovisionResult:
        try:
            return await self._release(input.operand_teardown)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            finding = explain(error) or Finding(reason=Reason.RESOURCE_REMOVAL_FAILED, message=said(error))
            await self._say(Reason.RESOURCE_REMOVAL_FAILED, finding.message)
            count("removal_failed", (workflow.now() - self._began).total_seconds())
            raise ApplicationError(finding.message, type=Reason.RESOURCE_REMOVAL_FAILED.value) from error

    async def _release(self, teardown: OperandTeardown) -> DeprovisionResult:
        kind = await workflow.execute_local_activity_method(ResponsibilityActivities.release_kind, self._ref, **QUICK)
        mode = DeletionMode.NONE
        if kind is ReleaseKind.DEPROVISION:
            mode = await self._remove_all(teardown)
        if kind in (ReleaseKind.DEPROVISION, ReleaseKind.LET_GO):
            await workflow.execute_local_activity_method(ResponsibilityActivities.disclaim, self._ref, **QUICK)
        seconds = (workflow.now() - self._began).total_seconds()
        count(f"{kind.value}_{mode.value}" if kind is ReleaseKind.DEPROVISION else kind.value, seconds)
        return DeprovisionResult(
            outcome=kind,
            mode=mode,
            hard_delete_ended=self._hard.gave_up,
            skipped_by=self._hard.skipped_by,
            # What was found is gone now, also where the worker that saw it go died before it could say so.
            removed=(self._removed + self._abandoned.removed).at_least(self._found),
            abandoned_total=self._abandoned.abandoned_total,
            abandoned=self._abandoned.abandoned,
            began=self._began,
            seconds=round(seconds, 3),
        )

    async def _remove_all(self, teardown: OperandTeardown) -> DeletionMode:
        left = await self._remaining()
        self._found = self._found.at_least(Removed(bindings=left.bindings, instances=left.instances))
        ends = self._hard_delete_ends or workflow.now() + self._limits.hard_delete_timeout
        self._hard_delete_ends = None if left.none else ends
        await self._say(Reason.HARD_DELETING, str(left))
        if teardown is OperandTeardown.FIRST or (teardown is OperandTeardown.AUTO and left.none):
            await self._remove_operand()
        mode = DeletionMode.HARD
        if self._hard_delete_ends and not await self._hard_delete(self._hard_delete_ends, str(left)):
            mode = DeletionMode.SOFT
            await self._say(Reason.SOFT_DELETING, f"hard delete ended: {self._hard.gave_up}")
        # From here on nothing can be deleted the hard way: the operand goes. Objects made since the last look,
        # or left by a hard delete that gave up, are let go. Usually there are none.
        if not self._operand_gone:
            await self._remove_operand()
        await self._soft_delete()
        await self._remove_resources()
        return DeletionMode.SOFT if self._abandoned.abandoned_total else mode

    async def _hard_delete(self, ends: datetime, told: str) -> bool:
        """True when the operand is done with every service object; False when it gave up."""
        all_gone = await self._hard.run(ends, told, operand_stays=not self._operand_gone)
        self._removed += self._hard.removed
        if all_gone is None:
            self._go_on_as_new()
        if self._hard.kept:
            self._hard_delete_ends = None  # the operand is done: soft delete would change nothing
            await self._say(Reason.HARD_DELETING, f"the operand is done; left: {', '.join(self._hard.kept)}")
        return all_gone

    def _go_on_as_new(self) -> NoReturn:
        so_far = SoFar(
            began=self._began, hard_delete_ends=self._hard_delete_ends, removed=self._removed, found=self._found
        )
        workflow.continue_as_new(self._input.model_copy(update={"so_far": so_far}))

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
        return TeardownInput(ref=self._ref, because=self._hard.gave_up)

    async def _say(self, reason: Reason, message: str) -> None:
        ends = self._hard_delete_ends if reason is Reason.HARD_DELETING else None
        self._progress = ProgressReport(reason=reason, message=message, budget_ends=ends)
        until = f"\n\nSoft delete follows at the latest at {ends:%H:%M:%S} UTC." if ends else ""
        workflow.set_current_details(f"Removing BtpOperator `{self._ref}`\n\n**{reason.value}**: {message}{until}")
        await set_status(self._ref, Finding(reason=reason, message=message))
