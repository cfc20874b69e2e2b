"""Rolls the operand out: applies its chart, and waits until all of it is ready, under one deadline.

The deadline outlives what interrupts a rollout: an event makes the run look again, and the next rollout goes on under
the same one, unless it writes something.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from models.conditions import Reason
    from models.durations import show_duration
    from models.operator_input import OperatorInput, SoFar
    from models.provision import Applied, ChartInput, Contest, ProvisionResult
    from models.status import Finding
    from workflows.calls import Overdue, long, until_done
    from workflows.failures import explain, is_lost_mandate, nobody_tried, said, was_cancelled
    from workflows.provision_account import ProvisionAccount
    from workflows.readiness_wait import ReadinessWait
    from workflows.rivalry_watch import RivalryWatch


class Rollout:
    """What one run applies and waits for."""

    def __init__(self, input: OperatorInput, account: ProvisionAccount, is_dirty: Callable[[], bool]) -> None:
        self._mandate = input.mandate
        self._account = account
        self._rivalry = RivalryWatch(input.so_far.rivalry, account)
        self._readiness = ReadinessWait(input.mandate, account, is_dirty)
        self._ready_by = input.so_far.ready_by
        self._looked_again = False
        self.written = 0

    @property
    def so_far(self) -> SoFar:
        """What the next run has to know."""
        return SoFar(ready_by=self._ready_by, rivalry=self._rivalry.known)

    async def run(self, limit: timedelta, was_ready: bool) -> ProvisionResult | None:
        """Apply, and wait until it is ready or the limit is over. None: something has to be looked at first."""
        if not was_ready and self._ready_by is None:
            await self._account.say(Reason.INITIALIZED, "applying the operand's chart")
        await self._rivalry.pause()
        if self._ready_by is None:
            self._readiness.told = ""  # the CR says something else by now
        deadline = workflow.now() + limit
        try:
            applied = await self._apply(deadline, limit)
            self.written += len(applied.written)
            self._note(applied.contested)
            if self._rivalry.named:
                return await self._contested(limit)
            deadline = self._deadline(applied, limit)
            waited = await self._readiness.wait(deadline, limit)
        except Overdue as overdue:
            return await self._failed(_too_late(limit, str(overdue)))
        except FailureError as error:
            if was_cancelled(error) or is_lost_mandate(error):
                raise
            if not self._looked_again and nobody_tried(error, deadline, limit):
                self._looked_again, self._ready_by = True, None
                return None  # nobody could look while the time passed: one more look decides
            return await self._failed(explain(error) or _too_late(limit, said(error)))
        return await self.done() if waited else None

    async def done(self) -> ProvisionResult:
        """All of it is there, and ready."""
        self._ready_by = None
        return await self._account.ready()

    async def is_contested(self, is_disturbed: Callable[[], bool]) -> bool:
        """Stay a while after a field of ours was changed back. True: look again."""
        was_named = bool(self._rivalry.named)
        if not await self._rivalry.quiet(is_disturbed):
            return True
        self._note([])
        return was_named  # Ready was withheld

    def _note(self, contested: list[Contest]) -> None:
        if self._rivalry.note(contested):
            self._ready_by = None  # from here on it is about readiness again

    async def _failed(self, finding: Finding) -> ProvisionResult:
        self._ready_by = None
        return await self._account.not_ready(finding)

    async def _apply(self, deadline: datetime, limit: timedelta) -> Applied:
        applying = workflow.start_activity_method(
            ChartActivities.apply_chart,
            ChartInput(mandate=self._mandate),
            **long(limit, timedelta(minutes=2), "apply the chart: only what differs"),
        )
        await until_done(applying, deadline, disturbed=lambda: False)
        return await applying

    def _deadline(self, applied: Applied, limit: timedelta) -> datetime:
        """Until when all has to be ready: counted anew from each apply that wrote something."""
        if self._ready_by is None or applied.written:
            self._ready_by = workflow.now() + limit
        return self._ready_by

    async def _contested(self, limit: timedelta) -> ProvisionResult:
        """Ready is not said while somebody changes our fields back: it would not hold for a second."""
        if self._ready_by is None:
            self._ready_by = workflow.now() + limit
        if workflow.now() < self._ready_by:
            return await self._account.not_ready(Finding(reason=Reason.PROCESSING, message=self._rivalry.named))
        return await self._account.not_ready(_too_late(limit, self._rivalry.named))


def _too_late(limit: timedelta, why: str) -> Finding:
    message = f"not ready within {show_duration(limit)}: {why}"
    return Finding(reason=Reason.PROVISIONING_FAILED, message=message)
