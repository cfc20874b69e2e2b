"""The part of a deletion that has a budget: the operand deletes what it made in SAP BTP, or a person ends the wait."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from activities.hard_delete import HardDeleteActivities
    from models.deprovision import HardDeleted, HardDeleteInput, Remaining, Removed
    from models.durations import show_duration
    from models.operator_input import OperatorInput
    from models.provision import ChartInput
    from workflows.steps import LONG, history_is_long, ran_out_of_time, said, stop

CALM: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
"""Inside the budget an attempt follows the other soon: each watches for a minute anyway."""
TELL_FIRST: Final = timedelta(seconds=2)
TELL_LAST: Final = timedelta(seconds=60)
"""How often progress is told: soon at first, then seldom enough to keep the history small."""
RESTORING: Final = timedelta(minutes=1)
"""For restoring the operand: hard delete begins then in any case, and names what stands in its way."""
RESTORES: Final = "restore-operand"
"""Runs that began without it go on without it."""


class HardDelete:
    """One run's hard delete, and how it ended."""

    def __init__(
        self,
        input: OperatorInput,
        remaining: Callable[[], Awaitable[Remaining]],
        say: Callable[[str], Awaitable[None]],
    ) -> None:
        self._ref = input.ref
        self._budget = input.limits.hard_delete_timeout
        self._remaining = remaining
        self._say = say
        self._told = ""
        self.running = False
        self.removed = Removed()
        self.kept: list[str] = []
        """What is left because of finalizers of others, when the operand has done its part."""
        self.gave_up = ""
        """Why soft delete has to follow."""
        self.skipped_by = ""
        """Who asked to end it."""
        self.try_again = False
        """Somebody asked to begin anew at once."""
        self._restores = False
        self._operand = ""

    async def run(self, ends: datetime, told: str, operand_stays: bool) -> bool | None:
        """True when the operand is done with every service object; False when it gave up; None if the history has
        grown long before either. `told` is what the CR says already; from here on it is kept true."""
        self.running, self._told = True, told
        self._restores = operand_stays and workflow.patched(RESTORES)
        telling = asyncio.create_task(self._tell_progress(ends))
        all_gone = await self._all_gone(ends)
        self.running = False
        await stop(telling)
        return all_gone

    async def _all_gone(self, ends: datetime) -> bool | None:
        try:
            while not await self._try(ends):
                if self.skipped_by:
                    self.gave_up = f"{self.skipped_by} asked for soft delete; {self._told}"
                    return False
                if history_is_long():
                    return None
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            late = f"not done within {show_duration(self._budget)}; " if ran_out_of_time(error) else ""
            self.gave_up = late + said(error)
            return False
        return True

    async def _try(self, ends: datetime) -> bool:
        """True when all is gone; False if a person, or a history grown long, wants something else first."""
        self.try_again = False
        if self._restores:
            await self._restore_operand(ends - workflow.now())
        deleting = self._start(ends - workflow.now())
        await workflow.wait_condition(
            lambda: deleting.done() or self.try_again or bool(self.skipped_by) or history_is_long()
        )
        if not deleting.done():
            await stop(deleting)
            return False
        done = await deleting
        self.removed += done
        self.kept = done.kept
        return True

    async def _restore_operand(self, left: timedelta) -> None:
        """Nobody else puts back what the operand has lost while its CR is being deleted."""
        try:
            restored = await workflow.execute_activity_method(
                ChartActivities.restore_operand,
                ChartInput(ref=self._ref),
                # Inside the budget of hard delete, which it is a part of.
                schedule_to_close_timeout=min(RESTORING, max(left, timedelta(seconds=1))),
                start_to_close_timeout=RESTORING,
                summary="see that the operand stands, which has to delete",
                **LONG,
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            self._operand = f"; the operand cannot be restored: {said(error)}"
        else:
            self._operand = f"; the operand was restored: {', '.join(restored.written)}" if restored.written else ""

    def _start(self, left: timedelta) -> workflow.ActivityHandle[HardDeleted]:
        return workflow.start_activity_method(
            HardDeleteActivities.hard_delete,
            HardDeleteInput(ref=self._ref),
            # The promise: this long in all, whatever restarts. The Temporal server keeps it.
            schedule_to_close_timeout=max(left, timedelta(seconds=1)),
            start_to_close_timeout=timedelta(seconds=90),  # an attempt ends by itself after a minute
            summary=f"hard delete, at most {show_duration(left)}",
            **{**LONG, "retry_policy": CALM},
        )

    async def _tell_progress(self, ends: datetime) -> None:
        """Keep the CR's message and the workflow's details true; see when the operand has to be restored."""
        pause = TELL_FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, TELL_LAST)
            left = await self._remaining()
            budget = show_duration(max(ends - workflow.now(), timedelta()))
            self._told = f"{left}{self._operand}; soft delete follows in {budget} at the latest"
            await self._say(self._told)
            self.try_again |= self._restores and left.operand_lost
