"""The part of a deletion that has a budget: the operand deletes what it made in SAP BTP, or a person ends the wait.

The budget's end is a deadline on the CR, kept by the Temporal server. To abandon needs a real try: where the deadline
passed while no worker, no Temporal or no API server was there, one last attempt follows before soft delete.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from activities.hard_delete import HardDeleteActivities
    from models.deletion_record import DeletionRecord
    from models.deprovision import HardDeleted, HardDeleteInput, Remaining, Removed
    from models.durations import show_duration
    from models.limits import Limits
    from models.operator_input import OperatorInput
    from models.provision import ChartInput
    from workflows.calls import history_is_long, long, stop
    from workflows.failures import is_lost_mandate, longest_outage, nobody_tried, ran_out_of_time, said

CALM: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=5))
"""Inside the budget one attempt follows the other soon: each watches for a minute anyway."""
TELL_FIRST: Final = timedelta(seconds=2)
TELL_LAST: Final = timedelta(seconds=60)
"""How often progress is reported: soon at first, then seldom enough to keep the history small."""
A_MOMENT: Final = timedelta(seconds=1)
"""The shortest limit of an activity."""
OVERDUE: Final = timedelta(seconds=5)
"""After its deadline an activity that did not end is stopped."""
RESTORING: Final = timedelta(minutes=1)
"""For restoring the operand: hard delete begins then in any case, and names what stands in its way."""


class Overdue(Exception):
    """An activity went on past its deadline, by the workflow's own timer."""


class HardDeleteEnd(StrEnum):
    """How one run's hard delete ended."""

    OPERAND_IS_DONE = "the operand is done with every service object"
    GAVE_UP = "soft delete has to follow"
    GOES_ON = "the history has grown long, and the next run goes on"


class HardDelete:
    """One run's hard delete. `record` is kept up to date; `say` writes a message, and the record, to the CR."""

    def __init__(
        self,
        input: OperatorInput,
        remaining: Callable[[], Awaitable[Remaining]],
        say: Callable[[str], Awaitable[None]],
    ) -> None:
        self._mandate = input.mandate
        self._limits = input.limits
        self._remaining = remaining
        self._say = say
        self._left = ""
        self._last_said = ""
        self._operand = ""
        self._obstacles: dict[str, str] = {}
        self._running = False
        self._try_again = False
        self._skip_requested_by = ""
        self._restores = False
        self.removed = Removed()
        self.kept: list[str] = []
        """What is left because of finalizers of others, when the operand has done its part."""
        self.gave_up = ""
        """Why soft delete has to follow."""
        self.skipped_by = ""
        """Who ended it before its time."""

    @property
    def is_running(self) -> bool:
        return self._running

    def keep_to(self, limits: Limits) -> None:
        """These limits hold: what the input asked for, within what the worker's settings allow."""
        self._limits = limits

    def try_again(self) -> None:
        """Begin anew at once: somebody asked for it, or something may have changed."""
        self._try_again = True

    def skip(self, requested_by: str) -> str:
        """End it now; soft delete follows. Returns what is left."""
        self._skip_requested_by = requested_by
        return self._left

    async def run(self, record: DeletionRecord, left: str, operand_stays: bool) -> HardDeleteEnd:
        """Go on until the operand is done, the deadline or a person ends it, or the history has grown long.

        `left` is what the CR says already; from here on it is kept true.
        """
        self._running, self._left, self._restores = True, left, operand_stays
        telling = asyncio.create_task(self._tell_progress(record))
        try:
            end = await self._within_budget(record)
        except BaseException:
            self._running = False
            telling.cancel()  # not waited for: an evicted run must not wait for anything
            raise
        self._running = False
        await stop(telling)
        await workflow.wait_condition(workflow.all_handlers_finished)  # what they write comes before what follows
        return end

    async def _within_budget(self, record: DeletionRecord) -> HardDeleteEnd:
        if record.last_attempt_ends is None:
            if record.hard_delete_ends <= workflow.now():
                return await self._last_attempt(record)  # an earlier run had the time, and did not come to an end
            end = await self._until(record, self._limits.hard_delete_timeout)
            return await self._last_attempt(record) if end is None else end
        return await self._to_the_end(record)

    async def _last_attempt(self, record: DeletionRecord) -> HardDeleteEnd:
        """Its clock starts when a worker and the API server answer: writing to the CR waits for both."""
        reason = "nothing could be done before the deadline, because no worker or no API server was there"
        limit, ends = self._limits.last_attempt, record.ends
        await self._say(f"{self._left}; {reason}; one last attempt of {show_duration(limit)} begins")
        if record.ends > ends:
            return await self._within_budget(record)  # meanwhile a person gave more time
        record.last_attempt_ends = workflow.now() + limit
        await self._say(f"{self._left}; {reason}; the last attempt ends in {show_duration(limit)} at the latest")
        return await self._to_the_end(record)

    async def _to_the_end(self, record: DeletionRecord) -> HardDeleteEnd:
        """After the last attempt soft delete follows, whoever was there."""
        limit = self._limits.last_attempt
        end = await self._until(record, limit)
        if end is None:
            self.gave_up = f"not done within a last attempt of {show_duration(limit)}; {self._last_said}"
        return end or HardDeleteEnd.GAVE_UP

    async def _until(self, record: DeletionRecord, limit: timedelta) -> HardDeleteEnd | None:
        """None: the deadline passed, and nobody had tried."""
        while True:
            ends = record.ends
            try:
                done = await self._try(record)
            except Overdue:
                if record.ends > ends:
                    continue
                self._last_said = "the activity was not carried on; is it paused in Temporal?"
                return None
            except FailureError as error:
                if is_cancelled_exception(error) or is_lost_mandate(error):
                    raise
                if ran_out_of_time(error) and record.ends > ends:
                    continue  # a person gave more time in the same moment
                if nobody_tried(error, ends, limit):
                    self._last_said = said(error)
                    return None
                late = f"not done within {show_duration(limit)}; " if ran_out_of_time(error) else ""
                self.gave_up = late + said(error)
                return HardDeleteEnd.GAVE_UP
            if done:
                return HardDeleteEnd.OPERAND_IS_DONE
            if self._skip_requested_by:
                self.skipped_by = self._skip_requested_by
                self.gave_up = f"{self.skipped_by} asked for soft delete; {self._left}"
                return HardDeleteEnd.GAVE_UP
            if done is None and record.ends <= ends:
                self._last_said = self._left
                return None
            if history_is_long():
                return HardDeleteEnd.GOES_ON

    async def _try(self, record: DeletionRecord) -> bool | None:
        """True when the operand is done; False if a person, or a history grown long, wants something else first.

        None: the deadline passed before anything was asked for, as where nobody was there to restore the operand. To
        ask for it now, for a moment, would look like a try.
        """
        self._try_again = False
        ends = record.ends
        if self._restores and not await self.restore_operand(ends - workflow.now()):
            return False
        if ends <= workflow.now():
            return None
        deleting = self._start(ends - workflow.now())
        if not await self._undisturbed(deleting, ends + OVERDUE):
            return False
        done = await deleting
        self.removed += done
        self.kept = done.kept
        if not done.is_done:
            self._obstacles = done.obstacles
            await self.report(record)
        return done.is_done

    async def _undisturbed(self, running: workflow.ActivityHandle[Any], overdue: datetime) -> bool:
        """Wait for an activity. False if it was stopped, for something else has to come first.

        Raises:
            Overdue: the server did not end it by its deadline: it keeps no deadline of an activity that is paused.
        """
        try:
            await workflow.wait_condition(
                lambda: running.done() or self._try_again or bool(self._skip_requested_by) or history_is_long(),
                timeout=max(overdue - workflow.now(), A_MOMENT),
            )
        except TimeoutError:
            await stop(running)
            raise Overdue from None
        except asyncio.CancelledError:
            await stop(running)
            raise
        if not running.done():
            await stop(running)
            return False
        return True

    async def restore_operand(self, left: timedelta = RESTORING) -> bool:
        """Nobody else puts back what the operand has lost while its CR is being deleted. False if disturbed."""
        restoring = workflow.start_activity_method(
            ChartActivities.restore_operand,
            ChartInput(mandate=self._mandate),
            # Inside the budget of hard delete, which it is a part of.
            **long(min(RESTORING, max(left, A_MOMENT)), RESTORING, "see that the operand stands, which has to delete"),
        )
        if not await self._undisturbed(restoring, workflow.now() + RESTORING + OVERDUE):
            return False
        try:
            restored = await restoring
        except FailureError as error:
            if is_cancelled_exception(error) or is_lost_mandate(error):
                raise
            self._operand = f"; the operand cannot be restored: {said(error)}"
        else:
            self._operand = f"; the operand was restored: {', '.join(restored.written)}" if restored.written else ""
        return True

    def _start(self, left: timedelta) -> workflow.ActivityHandle[HardDeleted]:
        answers = longest_outage(self._limits.hard_delete_timeout) / 2
        return workflow.start_activity_method(
            HardDeleteActivities.hard_delete_service_objects,
            HardDeleteInput(mandate=self._mandate, answer_every=answers, reported=self._obstacles),
            # The promise: this long in all, whatever restarts. An attempt ends by itself after a minute.
            **long(max(left, A_MOMENT), timedelta(seconds=90), f"hard delete, at most {show_duration(left)}", CALM),
        )

    async def report(self, record: DeletionRecord) -> Remaining:
        """Say on the CR what is left, what stands in the way, when the wait ends, and what people asked of it."""
        left = await self._remaining()
        blocked = f"; not accepted: {'; '.join(self._obstacles.values())}" if self._obstacles else ""
        self._left = f"{left}{blocked}{self._operand}"
        now = workflow.now()
        budget = show_duration(max(record.ends - now, timedelta()))
        follows = f"soft delete follows in {budget} at the latest"
        await self._say("; ".join([self._left, follows, *record.asked(now)]))
        return left

    async def _tell_progress(self, record: DeletionRecord) -> None:
        """Keep the CR's message and the workflow's details true; see when the operand has to be restored.

        Whatever one look meets is reported too, and the next one follows.
        """
        pause = TELL_FIRST
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, TELL_LAST)
            try:
                left = await self.report(record)
                self._try_again |= self._restores and left.operand_lost
            except FailureError as error:
                if is_cancelled_exception(error):
                    raise
                workflow.logger.warning("progress cannot be reported on the CR: %s", said(error))
