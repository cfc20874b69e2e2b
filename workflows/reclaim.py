"""Delete in SAP BTP what a soft delete had to abandon, for days if need be. It outlives the CR and the operand.

A round goes through the report; what is refused, or cannot be asked, is asked again after pauses that grow to an hour.
It ends when nothing is left that another round could change, or when its time is over; the report says what is left.
"""

import contextlib
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.reclaim import ReclaimActivities
    from dispatch.names import OF_A_RECLAIM
    from models.durations import show_duration
    from models.mandate import Mandate
    from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE, LOOK_AGAIN, RECLAIM_WORKFLOW
    from models.reclaim import (
        LEAVES_THE_REPORT,
        MAX_TOLD,
        Outcome,
        ReclaimEnd,
        ReclaimInput,
        ReclaimProgress,
        ReclaimResult,
        ReclaimSoFar,
        Round,
        RoundInput,
        Told,
    )
    from models.text import code
    from workflows.calls import AGAIN, WAIT, history_is_long, long, needs_input
    from workflows.failures import said, was_cancelled
    from workflows.waiting import until

FIRST_PAUSE: Final = timedelta(seconds=5)
"""After a round that got something done, or the first: what stood in the way is often gone soon."""
LONGEST_PAUSE: Final = timedelta(hours=1)
ROUND: Final = timedelta(minutes=10)
"""For one round at most: it ends by itself after four minutes, and what it waits for then."""
RECORDING: Final = timedelta(minutes=5)
REPORT: Final = f"ConfigMap {KYMA_NAMESPACE}/{ABANDONED_CONFIGMAP}"
PATIENT: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=10))


async def start_reclaim(mandate: Mandate, reclaim_for: timedelta) -> None:
    """Have reclaimed what the deletion of this CR has abandoned, if somebody has consented. Nobody waits for it.

    Call while the operand's settings are still there. A deletion goes on if this fails: the report is there.
    """
    try:
        consent = await workflow.execute_activity_method(
            ReclaimActivities.check_consent,
            mandate,
            schedule_to_close_timeout=RECORDING,
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=AGAIN,
            cancellation_type=WAIT,
            summary="may what was abandoned be deleted in SAP BTP?",
        )
    except FailureError as error:
        if was_cancelled(error):
            raise
        workflow.logger.warning("what was abandoned is not reclaimed: %s", said(error))
        return
    if not consent.given:
        return
    ref, digest = mandate.ref, consent.cluster_digest
    with contextlib.suppress(WorkflowAlreadyStartedError):  # an earlier run of the deletion started it
        await workflow.start_child_workflow(
            RECLAIM_WORKFLOW,
            ReclaimInput(cluster=mandate.cluster, ref=ref, cluster_digest=digest, reclaim_for=reclaim_for),
            id=f"{workflow.info().workflow_id}{OF_A_RECLAIM}",
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"Delete in SAP BTP what the deletion of BtpOperator {ref} abandoned",
        )


@workflow.defn(name=RECLAIM_WORKFLOW)
class ReclaimWorkflow:
    """One for each deletion that abandoned something; one more for what a person wants to have reclaimed."""

    @workflow.init
    @needs_input
    def __init__(self, input: ReclaimInput) -> None:
        self._input = input
        began = ReclaimSoFar(ends=workflow.now() + input.reclaim_for, pause=FIRST_PAUSE)
        self._so_far = input.so_far or began
        self._so_far.ends = min(self._so_far.ends, began.ends)  # an input, which anybody may have written, gets no more
        self._told: list[Told] = []
        self._left = 0
        self._again = False
        self._why = ""
        self._progress = ReclaimProgress(ends=self._so_far.ends)

    @workflow.signal(name=LOOK_AGAIN)
    def look_again(self) -> None:
        """Do not wait for the pause to be over: somebody removed what stood in the way."""
        self._again = True

    @workflow.query
    def progress(self) -> ReclaimProgress:
        """Where it stands."""
        return self._progress

    @workflow.run
    async def run(self, input: ReclaimInput) -> ReclaimResult:
        while True:
            self._again = False
            done = await self._round()
            if done is None:
                return await self._give_up()
            if input.only_show or not (done.trouble or done.unfinished or done.to_try_again):
                return await self._end("all that could be done is done", done.trouble)
            if not done.unfinished and not await self._pause(done):
                return await self._give_up()
            if history_is_long():
                workflow.continue_as_new(input.model_copy(update={"so_far": self._so_far}))

    async def _round(self) -> Round | None:
        """One round; None if the time was over before it could be made."""
        left = self._so_far.ends - workflow.now()
        if left <= timedelta():
            return None
        scope = self._input.model_dump(include={"ref", "cluster", "cluster_digest", "only_show"})
        try:
            done = await workflow.execute_activity_method(
                ReclaimActivities.reclaim_round,
                RoundInput(**scope, proven=self._so_far.proven),
                # Until its time is over the API server may be away.
                **long(left, ROUND, "delete in SAP BTP what was abandoned", PATIENT),
            )
        except FailureError as error:
            if was_cancelled(error):
                raise
            self._why = said(error)
            return None
        self._so_far.proven = done.proven
        self._told, self._left = done.told, sum(done.counts.values()) - done.of(LEAVES_THE_REPORT)
        for outcome in LEAVES_THE_REPORT:
            self._so_far.counts[outcome] = self._so_far.counts.get(outcome, 0) + done.counts.get(outcome, 0)
        if done.of(LEAVES_THE_REPORT):
            self._so_far.pause = FIRST_PAUSE
        return done

    async def _pause(self, done: Round) -> bool:
        """Wait, longer each time; at least as long as Service Manager asked for. False if the time is over first."""
        asked = timedelta(seconds=done.retry_after or 0)
        pause = max(self._so_far.pause, asked)
        self._so_far.pause = min(self._so_far.pause * 2, LONGEST_PAUSE)
        left = self._so_far.ends - workflow.now()
        self._why = done.trouble or (f"{done.told[0].outcome.value}: {done.told[0].why}" if done.told else "")
        self._say(f"{self._left} objects left; {self._why}", workflow.now() + pause)
        # A signal does not shorten what Service Manager asked for.
        await workflow.sleep(min(asked, left))
        await until(lambda: self._again, min(pause, left) - min(asked, left))
        return self._so_far.ends > workflow.now()

    async def _give_up(self) -> ReclaimResult:
        return await self._end(f"given up after {show_duration(self._input.reclaim_for)} ({self._why or 'no answer'})")

    async def _end(self, why: str, trouble: str = "") -> ReclaimResult:
        counts = self._so_far.counts
        reclaimed = counts.get(Outcome.RECLAIMED, 0) + counts.get(Outcome.ABSENT, 0)
        result = ReclaimResult(
            ended=why,
            trouble=trouble,
            reclaimed=reclaimed,
            in_use=counts.get(Outcome.IN_USE, 0),
            left=self._left,
            told=self._told[:MAX_TOLD],
        )
        if not self._input.only_show:
            left = f"; {result.left} are left, {REPORT} says why" if result.left else ""
            message = f"{why}: {reclaimed} abandoned objects are gone from SAP BTP{left}"
            self._say(message)
            await self._record(ReclaimEnd(cluster=self._input.cluster, message=message, left=result.left))
        return result

    async def _record(self, end: ReclaimEnd) -> None:
        try:
            await workflow.execute_activity_method(
                ReclaimActivities.end_reclaim,
                end,
                schedule_to_close_timeout=RECORDING,
                start_to_close_timeout=timedelta(seconds=30),
                cancellation_type=WAIT,
                summary="say how it ended",
            )
        except FailureError as error:
            if was_cancelled(error):
                raise
            workflow.logger.warning("no Event says how the reclaim ended: %s", said(error))

    def _say(self, message: str, next_round: datetime | None = None) -> None:
        ends = self._so_far.ends
        self._progress = ReclaimProgress(message=message, ends=ends, next_round=next_round)
        then = f"\n\nNext round at {next_round:%Y-%m-%d %H:%M:%S} UTC; " if next_round else "\n\n"
        workflow.set_current_details(f"{code(message)}{then}given up at {ends:%Y-%m-%d %H:%M} UTC")
