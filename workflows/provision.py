"""Have the operand in the cluster, ready, for the one BtpOperator that is responsible for it.

Short-lived on purpose: it looks, does what is missing, says how it stands and ends. Events that come meanwhile mark it
dirty, and one more pass follows however many came. A deletion stops whatever runs, waits until it has really stopped,
and goes on as a DeprovisionWorkflow under the same id: nothing applies the chart while another hand deletes it.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from activities.responsibility import ResponsibilityActivities
    from activities.status import StatusActivities
    from activities.trust import TrustActivities
    from models.conditions import Reason
    from models.durations import show_duration
    from models.names import DELETION_REQUESTED, DEPROVISION_WORKFLOW, LOOK_AGAIN, PROVISION_WORKFLOW
    from models.operator_input import OperatorInput, SoFar
    from models.provision import (
        Applied,
        Assessment,
        ChartInput,
        Contest,
        ProvisionOutcome,
        ProvisionResult,
        Standing,
    )
    from models.status import EventInput, Finding, ProgressReport
    from workflows.aside import stand_aside
    from workflows.calls import (
        Overdue,
        count,
        history_is_long,
        last_words,
        long,
        needs_input,
        patient,
        quick,
        set_status,
        stop,
        until_done,
    )
    from workflows.failures import explain, is_lost_mandate, nobody_tried, said, was_cancelled
    from workflows.provision_account import ProvisionAccount
    from workflows.readiness_wait import ReadinessWait
    from workflows.rivalry_watch import RivalryWatch

STOPPED: Final = "a person stopped this run in Temporal; the next change, or the resync, looks again"
NOT_TRUSTED: Final = "TokenURLNotTrusted"
"""Reason of an Event, which alerts and scripts may match."""


@workflow.defn(name=PROVISION_WORKFLOW)
class ProvisionWorkflow:
    """Run with the CR's one workflow id; signalled by whoever sees a change."""

    @workflow.init
    @needs_input
    def __init__(self, input: OperatorInput) -> None:
        self._mandate = input.mandate
        self._limits = input.limits
        self._dirty = False
        self._deleting = False
        self._ready_by = input.so_far.ready_by
        self._looked_again = False
        self._written = 0
        self._account = ProvisionAccount(input.mandate)
        self._rivalry = RivalryWatch(input.so_far.rivalry, self._account)
        self._readiness = ReadinessWait(input.mandate, self._account, is_dirty=lambda: self._dirty)

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
            if result and (gone or not (self._dirty or await self._is_contested())):
                count(result.outcome.value, (took - workflow.info().start_time).total_seconds())
                return result.model_copy(update={"passes": self._account.passes, "written": self._written})
            if history_is_long():
                so_far = SoFar(ready_by=self._ready_by, rivalry=self._rivalry.known)
                workflow.continue_as_new(input.model_copy(update={"so_far": so_far}))

    async def _is_contested(self) -> bool:
        """Stay a while after a field of ours was changed back. True: look again."""
        was_named = bool(self._rivalry.named)
        if not await self._rivalry.quiet(lambda: self._dirty or self._deleting):
            return True
        self._note([])
        return was_named  # Ready was withheld

    def _note(self, contested: list[Contest]) -> None:
        if self._rivalry.note(contested):
            self._ready_by = None  # from here on it is about readiness again

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
                return None  # the next look tells what is so now
            return await self._not_ready(
                explain(error) or Finding(reason=Reason.PROVISIONING_FAILED, message=said(error))
            )

    async def _look(self) -> ProvisionResult | None:
        seen = await quick(ResponsibilityActivities.assess_operator, self._mandate)
        if seen.standing is Standing.GONE:
            return ProvisionResult(outcome=ProvisionOutcome.GONE)
        if seen.standing is Standing.DELETING:
            self._deleting = True
            return None
        if seen.ready_timeout:
            self._limits = self._limits.model_copy(update={"ready_timeout": seen.ready_timeout})
        if seen.standing is Standing.SPARE and seen.finding:
            return await self._stand_by(seen, seen.finding)
        if seen.finding and seen.finding.reason is Reason.OTHER_MANAGER_RUNS:
            await self._not_ready(seen.finding)
            await stand_aside(self._mandate, news=lambda: self._dirty)
            return None
        if not seen.claimed and not await self._claim():
            return None
        if seen.finding:
            return await self._not_ready(seen.finding)
        if seen.reason is Reason.RECONCILE_SUCCEEDED and await self._nothing_to_do():
            return await self._ready()
        return await self._provide(seen)

    async def _stand_by(self, seen: Assessment, finding: Finding) -> ProvisionResult:
        """Another CR is responsible: say which, and hold nothing that could keep this one from being deleted."""
        if seen.claimed:
            await quick(ResponsibilityActivities.remove_finalizer, self._mandate)
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

    async def _provide(self, seen: Assessment) -> ProvisionResult | None:
        if seen.reason is not Reason.RECONCILE_SUCCEEDED and self._ready_by is None:
            await self._account.say(Reason.INITIALIZED, "applying the operand's chart")
        await self._rivalry.pause()
        if self._ready_by is None:
            self._readiness.told = ""  # the CR says something else by now
        deadline = workflow.now() + self._limits.ready_timeout
        try:
            applied = await self._apply(deadline)
            self._written += len(applied.written)
            self._note(applied.contested)
            if self._rivalry.named:
                return await self._contested()
            deadline = self._ready_deadline(applied)
            waited = await self._readiness.wait(deadline, self._limits.ready_timeout)
        except Overdue as overdue:
            self._ready_by = None
            return await self._not_ready(
                Finding(reason=Reason.PROVISIONING_FAILED, message=self._too_late(str(overdue)))
            )
        except FailureError as error:
            if was_cancelled(error) or is_lost_mandate(error):
                raise
            if not self._looked_again and nobody_tried(error, deadline, self._limits.ready_timeout):
                self._looked_again, self._ready_by = True, None
                return None  # nobody could look while the time passed: one more look decides
            finding = explain(error) or Finding(reason=Reason.PROVISIONING_FAILED, message=self._too_late(said(error)))
            self._ready_by = None
            return await self._not_ready(finding)
        return await self._ready() if waited else None

    async def _apply(self, deadline: datetime) -> Applied:
        applying = workflow.start_activity_method(
            ChartActivities.apply_chart,
            ChartInput(mandate=self._mandate),
            **long(self._limits.ready_timeout, timedelta(minutes=2), "apply the chart: only what differs"),
        )
        await until_done(applying, deadline, disturbed=lambda: False)
        return await applying

    def _ready_deadline(self, applied: Applied) -> datetime:
        """Until when all has to be ready: counted anew from each apply that wrote something."""
        if self._ready_by is None or applied.written:
            self._ready_by = workflow.now() + self._limits.ready_timeout
        return self._ready_by

    async def _contested(self) -> ProvisionResult:
        """Ready is not said while somebody changes our fields back: it would not hold for a second."""
        if self._ready_by is None:
            self._ready_by = workflow.now() + self._limits.ready_timeout
        if workflow.now() < self._ready_by:
            return await self._not_ready(Finding(reason=Reason.PROCESSING, message=self._rivalry.named))
        text = f"not ready within {show_duration(self._limits.ready_timeout)}: {self._rivalry.named}"
        return await self._not_ready(Finding(reason=Reason.PROVISIONING_FAILED, message=text))

    async def _ready(self) -> ProvisionResult:
        self._ready_by = None
        said = "the operand is installed and ready"
        doubt = await self._doubt()
        await self._account.say(Reason.RECONCILE_SUCCEEDED, f"{said}, but {doubt}" if doubt else said)
        if doubt:
            event = EventInput(mandate=self._mandate, reason=NOT_TRUSTED, message=doubt, warning=True)
            await quick(StatusActivities.record_event, event)
        return ProvisionResult(outcome=ProvisionOutcome.READY, reason=Reason.RECONCILE_SUCCEEDED)

    async def _doubt(self) -> str:
        """What makes the operand useless although it is ready; a look that fails is none."""
        try:
            return await quick(TrustActivities.check_token_url, self._mandate)
        except FailureError as error:
            if was_cancelled(error):
                raise
            return ""

    async def _not_ready(self, finding: Finding) -> ProvisionResult:
        await self._account.say(finding.reason, finding.message)
        return ProvisionResult(outcome=ProvisionOutcome.NOT_READY, reason=finding.reason, message=finding.message)

    def _too_late(self, why: str) -> str:
        return f"not ready within {show_duration(self._limits.ready_timeout)}: {why}"


def _sentence(*parts: str | list[str]) -> str:
    """Join pairs of a label and names, leaving out labels without names."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return "; ".join(f"{label}{', '.join(names)}" for label, names in pairs if names)
