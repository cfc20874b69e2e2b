"""Take a BtpOperator, and all that came with it, out of the cluster. It always ends, and always says what it waits for.

Hard delete has its budget, kept by the Temporal server and written on the CR, where every later run finds it. Only the
end of that budget, or a person, opens soft delete: the operand's finalizer off, and what is thereby abandoned in SAP
BTP reported by name. Our own finalizer goes last. A CR that no longer asks for it ends the run wherever it stands.
"""

import asyncio
from typing import Final, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.responsibility import ResponsibilityActivities
    from activities.service_objects import ServiceObjectActivities
    from models.conditions import Reason
    from models.deletion_record import DeletionRecord, ExtendRequest, HoldRequest, ResumeRequest, Who
    from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind, Remaining, Removed
    from models.limits import OperandTeardown
    from models.names import DELETION_REQUESTED, DEPROVISION_WORKFLOW, LOOK_AGAIN
    from models.operator_input import OperatorInput, SoFar
    from models.status import Finding, ProgressReport
    from workflows.calls import count, last_words, needs_input, patient, quick, take_finalizer_off
    from workflows.confirmation import Confirmation
    from workflows.deletion_account import DeletionAccount
    from workflows.failures import explain, is_lost_mandate, removed_until, said, was_cancelled
    from workflows.hard_delete_phase import HardDelete, HardDeleteEnd
    from workflows.interventions import Interventions
    from workflows.removal import Removal

STOPPED: Final = (
    "a person stopped this deletion in Temporal; the next change, or the resync, goes on under the same deadline"
)


@workflow.defn(name=DEPROVISION_WORKFLOW)
class DeprovisionWorkflow:
    """Run with the CR's one workflow id, also as the continuation of its ProvisionWorkflow."""

    @workflow.init
    @needs_input
    def __init__(self, input: OperatorInput) -> None:
        self._input = input
        self._mandate = input.mandate
        self._limits = input.limits
        self._began = input.so_far.began or workflow.now()
        self._removed = input.so_far.removed
        self._found = input.so_far.found
        self._mode = DeletionMode.NONE
        self._account = DeletionAccount(input.mandate)
        self._removal = Removal(input.mandate, self._account)
        self._hard = HardDelete(input, self._remaining, self._account.say_hard_deleting)
        self._interventions = Interventions(self._account, self._hard)
        self._confirmation = Confirmation(
            input, self._account, self._remaining, self._hard.restoration, self._go_on_as_new
        )

    @workflow.signal(name=LOOK_AGAIN)
    def look_again(self) -> None:
        """Something changed, perhaps the CR itself: the next attempt looks. Other changes are the deletion's own."""
        self._confirmation.look_again()
        self._hard.look_again()

    @workflow.signal(name=DELETION_REQUESTED)
    def deletion_requested(self) -> None:
        """Something about the CR changed, perhaps the label that confirms the deletion."""
        self._confirmation.look_again()
        self._hard.look_again()

    @workflow.query
    def progress(self) -> ProgressReport:
        """Where the deletion stands."""
        return self._account.progress

    @workflow.update
    def retry_now(self) -> str:
        """Ask again for everything that is left, at once. The budget stays what it is. Returns what is left."""
        return self._interventions.retry()

    @workflow.update
    def skip_to_soft_delete(self, requested_by: Who) -> str:
        """End hard delete now. What is left may live on in SAP BTP; the report says who asked. Returns what is left."""
        return self._interventions.skip(requested_by)

    @workflow.update
    async def extend(self, request: ExtendRequest) -> str:
        """Give hard delete more time, by at most a day in all. Returns what is so now."""
        return await self._interventions.change_budget(request, "DeletionExtended")

    @workflow.update
    async def hold(self, request: HoldRequest) -> str:
        """Have the budget stand still while the deletion goes on, for at most a day in all. Returns what is so now."""
        return await self._interventions.change_budget(request, "DeletionHeld")

    @workflow.update
    async def resume(self, request: ResumeRequest) -> str:
        """Have the budget go on. Returns what is so now."""
        return await self._interventions.change_budget(request, "DeletionResumed")

    @extend.validator
    def _can_extend(self, request: ExtendRequest) -> None:
        self._interventions.check_budget(request)

    @hold.validator
    def _can_hold(self, request: HoldRequest) -> None:
        self._interventions.check_budget(request)

    @resume.validator
    def _can_resume(self, request: ResumeRequest) -> None:
        self._interventions.check_budget(request)

    @retry_now.validator
    def _can_retry(self) -> None:
        self._interventions.check_retry()

    @skip_to_soft_delete.validator
    def _can_skip(self, requested_by: Who) -> None:
        self._interventions.check_skip(requested_by)

    @workflow.run
    async def run(self, input: OperatorInput) -> DeprovisionResult:
        try:
            return await self._release(input.operand_teardown)
        except (FailureError, asyncio.CancelledError) as error:
            if was_cancelled(error):
                await last_words(self._mandate, Finding(reason=Reason.RESOURCE_REMOVAL_FAILED, message=STOPPED))
                raise
            assert isinstance(error, FailureError)
            if is_lost_mandate(error):
                self._removed += removed_until(error)
                return await self._end_without_mandate(said(error))
            finding = explain(error) or Finding(reason=Reason.RESOURCE_REMOVAL_FAILED, message=said(error))
            await self._account.say(Reason.RESOURCE_REMOVAL_FAILED, finding.message)
            count("removal_failed", (workflow.now() - self._began).total_seconds())
            raise ApplicationError(finding.message, type=Reason.RESOURCE_REMOVAL_FAILED.value) from error

    async def _release(self, teardown: OperandTeardown) -> DeprovisionResult:
        while True:
            asked = await self._confirmation.assess()
            if self._confirmation.is_needed(asked):
                asked = await self._confirmation.wait(asked)
                self._began = workflow.now()
            if asked.kind is not ReleaseKind.LET_GO or await take_finalizer_off(self._mandate, as_spare=True):
                break  # else the CR that was responsible is gone by now, and this one takes the operand with it
        if asked.kind is ReleaseKind.DEPROVISION:
            if asked.bounds:
                self._limits, teardown = asked.bounds.bounded(self._limits), asked.bounds.teardown(teardown)
                self._hard.keep_to(self._limits)
            if asked.record:
                limits = self._limits
                self._account.record = asked.record.bounded(
                    limits.hard_delete_timeout, limits.last_attempt, workflow.now()
                )
            await self._remove_all(teardown)
            await take_finalizer_off(self._mandate)
        return self._result(asked.kind)

    async def _end_without_mandate(self, why: str) -> DeprovisionResult:
        """Nothing more is done, except that a CR that no longer takes the operand with it is let go."""
        workflow.logger.warning("the deletion ends: %s", why)
        asked = await quick(ResponsibilityActivities.assess_deletion, self._mandate)
        if asked.kind is ReleaseKind.LET_GO and not await take_finalizer_off(self._mandate, as_spare=True):
            self._go_on_as_new()
        return self._result(ReleaseKind.MANDATE_LOST, why)

    def _result(self, outcome: ReleaseKind, lost_because: str = "") -> DeprovisionResult:
        seconds = (workflow.now() - self._began).total_seconds()
        deprovisioned = outcome is ReleaseKind.DEPROVISION
        count(f"{outcome.value}_{self._mode.value}" if deprovisioned else outcome.value.replace(" ", "_"), seconds)
        removed = self._removed + self._removal.removed + self._removal.abandoned.removed
        return DeprovisionResult(
            outcome=outcome,
            mode=self._mode,
            hard_delete_ended=self._account.because,
            skipped_by=self._hard.skipped_by,
            asked=self._account.record.asked(workflow.now()) if self._account.record else [],
            lost_because=lost_because,
            passed_over=self._removal.passed_over,
            # What was found is gone now, also where the worker that saw it go died before it could say so.
            removed=removed.at_least(self._found) if deprovisioned else removed,
            abandoned_total=self._removal.abandoned.abandoned_total,
            abandoned=self._removal.abandoned.abandoned,
            began=self._began,
            seconds=round(seconds, 3),
        )

    async def _remove_all(self, teardown: OperandTeardown) -> None:
        left = await self._remaining()
        self._found = self._found.at_least(Removed(bindings=left.bindings, instances=left.instances))
        soft = self._account.soft_delete_began
        if not soft and not left.none and self._account.record is None:
            ends = workflow.now() + self._limits.hard_delete_timeout
            self._account.record = DeletionRecord(began=self._began, hard_delete_ends=ends)
        if not soft:
            await self._account.say(Reason.HARD_DELETING, str(left))
        if teardown is OperandTeardown.FIRST or (teardown is OperandTeardown.AUTO and left.none):
            await self._removal.remove_operand(self._limits)
        self._mode = DeletionMode.HARD
        if soft or (not left.none and not await self._hard_delete(left)):
            self._mode = DeletionMode.SOFT
            await self._begin_soft_delete()
        # From here on nothing can be deleted the hard way: the operand goes. Objects made since the last look,
        # or left by a hard delete that gave up, are let go. Usually there are none.
        await self._removal.remove_operand(self._limits)
        await self._removal.let_go(self._limits)
        await self._removal.remove_resources(self._limits)
        if self._removal.abandoned.abandoned_total:
            self._mode = DeletionMode.SOFT

    async def _hard_delete(self, left: Remaining) -> bool:
        """True when the operand is done with every service object; False when it gave up."""
        assert self._account.record is not None
        end = await self._hard.run(self._account.record, left, operand_stays=not self._removal.operand_gone)
        self._account.budget_is_over = end is not HardDeleteEnd.GOES_ON
        self._removed += self._hard.removed
        if end is HardDeleteEnd.GOES_ON:
            self._go_on_as_new()
        if self._hard.kept:
            await self._account.say(Reason.HARD_DELETING, f"released by the operand: {', '.join(self._hard.kept)}")
        return end is HardDeleteEnd.OPERAND_IS_DONE

    async def _begin_soft_delete(self) -> None:
        """From here on every run of this deletion lets go: the CR says so before anything is let go."""
        assert self._account.record is not None
        self._account.record.begin_soft_delete(self._hard.gave_up, workflow.now())
        await self._account.say(Reason.SOFT_DELETING, f"hard delete ended: {self._account.because}")

    def _go_on_as_new(self) -> NoReturn:
        so_far = SoFar(began=self._began, removed=self._removed + self._removal.removed, found=self._found)
        workflow.continue_as_new(self._input.model_copy(update={"so_far": so_far}))

    async def _remaining(self) -> Remaining:
        """What is left; where counting is refused, that is what there is to say."""
        try:
            return await patient(ServiceObjectActivities.count_service_objects, self._mandate)
        except FailureError as error:
            if was_cancelled(error):
                raise
            return Remaining(unknown=said(error))
