"""The part of a deletion that has a budget: the operand deletes what it made in SAP BTP, or a person ends the wait.

The budget's end is a deadline on the CR, kept by the Temporal server. To abandon needs a real try: where the deadline
passed while no worker, no Temporal or no API server was there, one last attempt follows before soft delete.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.hard_delete import HardDeleteActivities
    from models.deletion_record import DeletionRecord
    from models.deprovision import HardDeleted, HardDeleteInput, Remaining, Removed
    from models.durations import show_duration
    from models.limits import Limits
    from models.operator_input import OperatorInput
    from workflows.calls import A_MOMENT, LONGEST_PAUSE, Overdue, history_is_long, long, stop, until_done
    from workflows.failures import is_lost_mandate, longest_outage, nobody_tried, ran_out_of_time, said, was_cancelled
    from workflows.restoration import Restoration
    from workflows.waiting import until

CALM: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=LONGEST_PAUSE)
"""Inside the budget one attempt follows the other soon: each watches for a minute anyway."""
TELL_FIRST: Final = timedelta(seconds=2)
TELL_LAST: Final = timedelta(seconds=60)
"""How often progress is reported: soon at first, then seldom enough to keep the history small."""
AFTER_FAILURE: Final = timedelta(seconds=30)
"""Before an attempt follows one that failed for good."""


class HardDeleteEnd(StrEnum):
    """How one run's hard delete ended."""

    OPERAND_IS_DONE = "the operand is done with every service object"
    GAVE_UP = "soft delete has to follow"
    GOES_ON = "the history has grown long, and the next run goes on"
    NOBODY_TRIED = "the deadline passed, and nobody had tried"


class Attempt(StrEnum):
    """How one attempt ended."""

    DONE = "the operand is done with every service object"
    DISTURBED = "something else comes first, or it failed: another one follows"
    OUT_OF_TIME = "the deadline passed"
    NOBODY_TRIED = "the deadline passed, and nobody had tried"


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
        self._failure = ""
        self._obstacles: dict[str, str] = {}
        self._running = False
        self._try_again = False
        self._changed = False
        self._skip_requested_by = ""
        self.restoration = Restoration(input.mandate, self._is_disturbed)
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
        self.restoration.doubt()
        self._try_again = True

    def look_again(self) -> None:
        """Something about the CR changed: whoever pauses after a failure looks now."""
        self._changed = True

    def skip(self, requested_by: str) -> str:
        """End it now; soft delete follows. Returns what is left."""
        self._skip_requested_by = requested_by
        return self._left

    async def run(self, record: DeletionRecord, left: Remaining, operand_stays: bool) -> HardDeleteEnd:
        """Go on until the operand is done, the deadline or a person ends it, or the history has grown long.

        `left` is what the CR says already; from here on it is kept true.
        """
        self._running, self._left = True, str(left)
        self.restoration.begin(left, operand_stays)
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
            return await self._last_attempt(record) if end is HardDeleteEnd.NOBODY_TRIED else end
        return await self._to_the_end(record)

    async def _last_attempt(self, record: DeletionRecord) -> HardDeleteEnd:
        """Its clock starts when a worker and the API server answer: writing to the CR waits for both."""
        reason = "nothing could be done before the deadline, because no worker or no API server was there"
        limit, ends = self._limits.last_attempt, record.ends
        await self._say(f"{self._left}; {reason}; one last attempt of {show_duration(limit)} begins")
        if record.ends > ends:
            return await self._within_budget(record)  # meanwhile a person gave more time
        while record.last_attempt_ends is None or record.last_attempt_ends <= workflow.now():
            # Again where its whole time went by before the API server took this: nobody could work in it.
            record.last_attempt_ends = workflow.now() + limit
            await self._say(f"{self._left}; {reason}; the last attempt ends in {show_duration(limit)} at the latest")
        return await self._to_the_end(record)

    async def _to_the_end(self, record: DeletionRecord) -> HardDeleteEnd:
        """After the last attempt soft delete follows, whoever was there."""
        limit = self._limits.last_attempt
        end = await self._until(record, limit)
        if end is HardDeleteEnd.NOBODY_TRIED:
            self.gave_up = f"not done within a last attempt of {show_duration(limit)}; {self._last_said}"
            return HardDeleteEnd.GAVE_UP
        return end

    async def _until(self, record: DeletionRecord, limit: timedelta) -> HardDeleteEnd:
        """Only the deadline, or a person, ends it: what fails in any other way begins again."""
        while True:
            ends = record.ends
            try:
                attempt = await self._try(record)
            except Overdue as overdue:
                attempt, self._last_said = Attempt.NOBODY_TRIED, str(overdue)
            except FailureError as error:
                if was_cancelled(error) or is_lost_mandate(error):
                    raise
                attempt = await self._failed(error, record, limit)
            if attempt is Attempt.DONE:
                return HardDeleteEnd.OPERAND_IS_DONE
            if self._skip_requested_by:
                self.skipped_by = self._skip_requested_by
                self.gave_up = f"{self.skipped_by} asked for soft delete; {self._left}"
                return HardDeleteEnd.GAVE_UP
            if record.ends <= ends:  # else a person gave more time in the same moment
                if attempt is Attempt.OUT_OF_TIME:
                    self.gave_up = f"not done within {show_duration(limit)}; {self._last_said}"
                    return HardDeleteEnd.GAVE_UP
                if attempt is Attempt.NOBODY_TRIED:
                    return HardDeleteEnd.NOBODY_TRIED
            if history_is_long():
                return HardDeleteEnd.GOES_ON

    async def _failed(self, error: FailureError, record: DeletionRecord, limit: timedelta) -> Attempt:
        """What a failed attempt means. One that failed for good is reported, and another one follows in a while."""
        if ran_out_of_time(error):
            self._last_said = said(error)
            return Attempt.NOBODY_TRIED if nobody_tried(error, record.ends, limit) else Attempt.OUT_OF_TIME
        self._failure = f"; an attempt failed, another one follows: {said(error)}"
        await self._report_if_it_can_be(record)
        left, self._changed = max(record.ends - workflow.now(), A_MOMENT), False
        await until(lambda: self._changed or self._is_disturbed(), min(left, AFTER_FAILURE))
        return Attempt.DISTURBED

    async def _try(self, record: DeletionRecord) -> Attempt:
        """One attempt, until the deadline if nothing disturbs it.

        Where nobody was there to restore the operand, it is too late: to ask for the deletion then, for a moment, would
        look like a try.
        """
        self._try_again = False
        ends = record.ends
        if self.restoration.is_due and not await self.restoration.run(ends - workflow.now()):
            return Attempt.DISTURBED
        if ends <= workflow.now():
            self._last_said = self._left
            return Attempt.NOBODY_TRIED
        deleting = self._start(ends - workflow.now())
        if not await until_done(deleting, ends, self._is_disturbed):
            return Attempt.DISTURBED
        done = await deleting
        self._failure = ""
        self.removed += done
        self.kept = done.kept
        if done.is_done:
            return Attempt.DONE
        self._obstacles = done.obstacles
        self.restoration.doubt()
        await self.report(record)
        return Attempt.DISTURBED

    def _is_disturbed(self) -> bool:
        return self._try_again or bool(self._skip_requested_by) or history_is_long()

    def _start(self, left: timedelta) -> workflow.ActivityHandle[HardDeleted]:
        answers = longest_outage(self._limits.hard_delete_timeout) / 2
        return workflow.start_activity_method(
            HardDeleteActivities.hard_delete_service_objects,
            HardDeleteInput(mandate=self._mandate, answer_every=answers, reported=self._obstacles),
            # The promise: this long in all, whatever restarts. An attempt ends by itself after a minute.
            **long(left, timedelta(seconds=90), f"hard delete, at most {show_duration(left)}", CALM),
        )

    async def report(self, record: DeletionRecord) -> Remaining:
        """Say on the CR what is left, what stands in the way, when the wait ends, and what people asked of it."""
        left = await self._remaining()
        blocked = f"; not accepted: {'; '.join(self._obstacles.values())}" if self._obstacles else ""
        self._left = f"{left}{blocked}{self.restoration.told}{self._failure}"
        now = workflow.now()
        budget = show_duration(max(record.ends - now, timedelta()))
        follows = f"soft delete follows in {budget} at the latest"
        await self._say("; ".join([self._left, follows, *record.asked(now)]))
        return left

    async def _tell_progress(self, record: DeletionRecord) -> None:
        """Keep the CR's message and the workflow's details true; see when the operand has to be restored."""
        pause = TELL_FIRST
        before: Remaining | None = None
        while True:
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, TELL_LAST)
            if (left := await self._report_if_it_can_be(record)) is None:
                continue
            in_time = record.ends - workflow.now() > 2 * longest_outage(self._limits.hard_delete_timeout)
            if self.restoration.is_called_for(left, before, in_time):
                self.try_again()
            before = left

    async def _report_if_it_can_be(self, record: DeletionRecord) -> Remaining | None:
        """Like `report`; None where the CR does not take it, which stops nothing."""
        try:
            return await self.report(record)
        except FailureError as error:
            if was_cancelled(error):
                raise
            workflow.logger.warning("progress cannot be reported on the CR: %s", said(error))
            return None
