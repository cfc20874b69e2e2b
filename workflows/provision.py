"""Have the operand in the cluster, ready, for the one BtpOperator that is responsible for it.

Short-lived on purpose: it looks, does what is missing, says how it stands and ends. Events that come meanwhile mark it
dirty, and one more pass follows however many came. A deletion stops whatever runs, waits until it has really stopped,
and goes on as a DeprovisionWorkflow under the same id: nothing applies the chart while another hand deletes it.
"""

import asyncio
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from activities.responsibility import ResponsibilityActivities
    from models.conditions import Reason
    from models.names import DELETION_REQUESTED, DEPROVISION_WORKFLOW, LOOK_AGAIN, PROVISION_WORKFLOW
    from models.operator_input import OperatorInput
    from models.provision import Assessment, ChartInput, ProvisionOutcome, ProvisionResult, Standing
    from models.status import Finding, ProgressReport
    from workflows.aside import stand_aside
    from workflows.calls import (
        count,
        history_is_long,
        last_words,
        needs_input,
        patient,
        quick,
        set_status,
        stop,
        take_finalizer_off,
    )
    from workflows.failures import explain, is_lost_mandate, said, was_cancelled
    from workflows.provision_account import ProvisionAccount
    from workflows.rollout import Rollout

STOPPED: Final = "a person stopped this run in Temporal; the next change, or the resync, looks again"


@workflow.defn(name=PROVISION_WORKFLOW)
class ProvisionWorkflow:
    """Run with the CR's one workflow id; signalled by whoever sees a change."""

    @workflow.init
    @needs_input
    def __init__(self, input: OperatorInput) -> None:
        self._mandate = input.mandate
        self._ready_timeout = input.limits.ready_timeout
        self._dirty = False
        self._deleting = False
        self._let_down = ""
        """Why the CR no longer asked for what was being done, when that was last so."""
        self._account = ProvisionAccount(input.mandate)
        self._rollout = Rollout(input, self._account, is_dirty=lambda: self._dirty)

    @workflow.query
    def progress(self) -> ProgressReport:
        """Where this run stands."""
        return self._account.progress

    @workflow.signal(name=LOOK_AGAIN)
    def look_again(self) -> None:
        """Something about the CR, its Secret or the operand may have changed. Carries no facts."""
        self._dirty = True

    @workflow.signal(name=DELETION_REQUESTED)
    def deletion_requested(self) -> None:
        """The CR is being deleted."""
        self._deleting = True

    @workflow.run
    async def run(self, input: OperatorInput) -> ProvisionResult:
        try:
            return await self._passes_until_quiet(input)
        except (FailureError, asyncio.CancelledError) as error:
            if was_cancelled(error):
                await last_words(self._mandate, Finding(reason=Reason.PROVISIONING_FAILED, message=STOPPED))
            raise

    async def _passes_until_quiet(self, input: OperatorInput) -> ProvisionResult:
        while True:
            self._dirty = False
            self._account.passes += 1
            result = await self._undisturbed(asyncio.create_task(self._pass()))
            if self._deleting:
                workflow.continue_as_new(workflow=DEPROVISION_WORKFLOW, args=[input])
            gone, took = result is not None and result.outcome is ProvisionOutcome.GONE, workflow.now()
            if result and (gone or not (self._dirty or await self._rollout.is_contested(self._is_interrupted))):
                count(result.outcome.value, (took - workflow.info().start_time).total_seconds())
                return result.model_copy(update={"passes": self._account.passes, "written": self._rollout.written})
            if history_is_long():
                workflow.continue_as_new(input.model_copy(update={"so_far": self._rollout.so_far}))

    def _is_interrupted(self) -> bool:
        return self._dirty or self._deleting

    async def _undisturbed(self, passing: asyncio.Task[ProvisionResult | None]) -> ProvisionResult | None:
        """The pass's result; None if it has to be made again.

        A deletion cuts it short, and goes on only when nothing of the pass writes any more (a look at readiness may
        outlive it by a heartbeat). So does a flood of events, before the history grows too long.
        """
        try:
            await workflow.wait_condition(lambda: passing.done() or self._deleting or history_is_long())
        except asyncio.CancelledError:
            await stop(passing)
            raise
        if passing.done() and not self._deleting:
            return await passing
        await stop(passing)
        return None

    async def _pass(self) -> ProvisionResult | None:
        """One look at everything, and whatever it asks for. None: look again at once."""
        try:
            return await self._look()
        except FailureError as error:  # a look, or a small write, that the API server refuses for good
            if was_cancelled(error):
                raise
            if is_lost_mandate(error):
                if (why := said(error)) != self._let_down:
                    self._let_down = why
                    return None  # the next look tells what is so now
                self._let_down = ""
                # Responsible at each look, and not when something is to be done: somebody takes it away each time.
                return await self._account.not_ready(
                    Finding(reason=Reason.PROVISIONING_FAILED, message=f"given up twice: {why}")
                )
            return await self._account.not_ready(
                explain(error) or Finding(reason=Reason.PROVISIONING_FAILED, message=said(error))
            )

    async def _look(self) -> ProvisionResult | None:
        seen = await quick(ResponsibilityActivities.assess_operator, self._mandate)
        if seen.standing is Standing.GONE:
            return ProvisionResult(outcome=ProvisionOutcome.GONE)
        if seen.standing is Standing.DELETING:
            self._deleting = True
            return None
        self._ready_timeout = seen.ready_timeout or self._ready_timeout
        if seen.standing is Standing.SPARE and seen.finding:
            return await self._stand_by(seen, seen.finding)
        if seen.finding and seen.finding.reason is Reason.OTHER_MANAGER_RUNS:
            await self._account.not_ready(seen.finding)
            await stand_aside(self._mandate, news=lambda: self._dirty)
            return None
        if not seen.claimed and not await self._claim():
            return None
        if seen.finding:
            return await self._account.not_ready(seen.finding)
        if seen.reason is Reason.RECONCILE_SUCCEEDED and await self._nothing_to_do():
            return await self._rollout.done()
        return await self._rollout.run(self._ready_timeout, was_ready=seen.reason is Reason.RECONCILE_SUCCEEDED)

    async def _stand_by(self, seen: Assessment, finding: Finding) -> ProvisionResult | None:
        """Another CR is responsible: say which, and hold nothing that could keep this one from being deleted."""
        if seen.claimed and not await take_finalizer_off(self._mandate, as_spare=True):
            return None
        await set_status(self._mandate, finding)
        return ProvisionResult(outcome=ProvisionOutcome.SPARE, reason=finding.reason, message=finding.message)

    async def _claim(self) -> bool:
        return await quick(ResponsibilityActivities.add_finalizer, self._mandate)

    async def _nothing_to_do(self) -> bool:
        """A look at a CR that was Ready. Losing readiness is said before it is repaired."""
        try:
            survey = await patient(ChartActivities.check_drift, ChartInput(mandate=self._mandate))
        except FailureError as error:
            if was_cancelled(error):
                raise
            return False  # applying meets the same trouble, and names it
        if survey.drifted or survey.unready:
            await self._account.say(
                Reason.PROCESSING, _sentence("changed: ", survey.drifted, "not ready: ", survey.unready)
            )
        return not survey.drifted and not survey.unready


def _sentence(*parts: str | list[str]) -> str:
    """Join pairs of a label and names, leaving out labels without names."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return "; ".join(f"{label}{', '.join(names)}" for label, names in pairs if names)
