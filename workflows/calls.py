"""How workflows call activities: the options that belong together, each with its reason."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, cast

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.responsibility import ResponsibilityActivities
    from activities.status import StatusActivities
    from dispatch.search_attributes import NAME_ATTRIBUTE, STATE_ATTRIBUTE
    from models.conditions import MEANING
    from models.deletion_record import DeletionRecord
    from models.mandate import FinalizerRemoval, Mandate
    from models.names import SUPERSEDED
    from models.status import Finding, StatusInput
    from workflows.failures import AWAY, is_away, may_pass
    from workflows.waiting import until

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., None])
WAIT: Final = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
"""A cancelled activity may be in the middle of a write. Whoever cancels goes on only when it has really stopped."""
LOOKING: Final = workflow.ActivityCancellationType.TRY_CANCEL
"""One that only looks may end a moment later, when it hears of it: whoever cancels goes on at once."""
DEAD_AFTER: Final = timedelta(seconds=8)
"""After the last heartbeat the next attempt begins, on another worker: a dead one is replaced within 10 s. Workers send
a heartbeat every 3 s (worker/__main__.py), so two in a row may be lost."""
LONGEST_PAUSE: Final = timedelta(seconds=2.5)
"""Between attempts nobody watches the CR: a run that lost its mandate ends within five seconds all the same.

With pauses of three seconds an attempt falls on the very end of limits such as 15 s and 2 min, and Temporal's
time-skipping server then begins it again without end.
"""
LOCAL: Final = workflow.LocalActivityConfig(
    # A look or a write of milliseconds, run beside the workflow task: no round trip through the server. Retries keep
    # the workflow task open, invisibly and at three events each few seconds: so they are short.
    # The timeout ends an attempt that gets no answer; the SDK does not count pauses between attempts towards it, so
    # their number is bounded too.
    schedule_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        maximum_interval=timedelta(seconds=2),
        maximum_attempts=7,
        non_retryable_error_types=[AWAY, SUPERSEDED],  # would fail here again; as a regular one it goes elsewhere
    ),
    cancellation_type=WAIT,
)
WAITING: Final = workflow.ActivityConfig(
    # The same once the API server is away: pending in the UI with its last failure, without an event for a retry.
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=LONGEST_PAUSE),
    cancellation_type=WAIT,
)
AGAIN: Final = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=LONGEST_PAUSE)
PATIENCE: Final = timedelta(seconds=15)
"""For a look that can be done without, where the API server answers everybody else."""
OUTAGE: Final = timedelta(minutes=2)
"""For the same while it answers nobody: each time that this is over adds a few events to the history."""
A_MOMENT: Final = timedelta(seconds=1)
"""The shortest limit of an activity, and the shortest pause."""
OVERDUE: Final = timedelta(seconds=5)
"""After its deadline an activity that did not end is stopped."""
LONGEST_HISTORY: Final = 1000
"""Events after which a run goes on as a new one: replays stay short however many events a CR gets."""


def needs_input(init: F) -> F:
    """For a workflow's `__init__`: a run that was started without its one input ends in words.

    Left alone, the SDK fails the workflow task, and has it tried again for ever.
    """

    @functools.wraps(init)
    def checked(self: Any, *args: Any) -> None:
        if len(args) != 1:
            message = f"{workflow.info().workflow_type} takes one input, and was started with {len(args)}"
            raise ApplicationError(message, type="InvalidInput", non_retryable=True)
        init(self, *args)

    return cast(F, checked)


def history_is_long() -> bool:
    return workflow.info().get_current_history_length() > LONGEST_HISTORY


def long(
    limit: timedelta,
    attempt: timedelta,
    summary: str,
    again: RetryPolicy = AGAIN,
    cancellation: workflow.ActivityCancellationType = WAIT,
) -> workflow.ActivityConfig:
    """The options of what takes long: a limit over all attempts, which the Temporal server keeps, and one for each."""
    return workflow.ActivityConfig(
        schedule_to_close_timeout=max(limit, A_MOMENT),
        start_to_close_timeout=attempt,
        heartbeat_timeout=DEAD_AFTER,
        cancellation_type=cancellation,
        retry_policy=again,
        summary=summary,
    )


async def quick(method: Callable[[Any, Any], Awaitable[T]], input: Any) -> T:
    """A short look or write; while the API server is away, waited for where people see it.

    Raises:
        FailureError: it was refused for longer than a quarter of a minute, or met a defect.
    """
    try:
        return await workflow.execute_local_activity_method(method, input, **LOCAL)
    except FailureError as error:
        if not may_pass(error):
            raise
        workflow.logger.warning("waiting for the API server: %s", error.cause or error)
    return await workflow.execute_activity_method(method, input, **WAITING)


async def patient(method: Callable[[Any, Any], Awaitable[T]], input: Any) -> T:
    """A short look that can be done without. Only an API server that answers nothing at all is waited for.

    One that answers, but refuses just this look with what may pass (an object that it cannot read, a webhook that is
    down), may do so for ever.

    Raises:
        FailureError: it was refused, or failed for half a minute.
    """
    try:
        return await workflow.execute_local_activity_method(method, input, **LOCAL)
    except FailureError as error:
        if not may_pass(error):
            raise
        workflow.logger.warning("trying again: %s", error.cause or error)
    options = WAITING.copy()
    options["schedule_to_close_timeout"] = PATIENCE
    while True:
        try:
            return await workflow.execute_activity_method(method, input, **options)
        except FailureError as error:
            if not is_away(error):
                raise
            options["schedule_to_close_timeout"] = OUTAGE


class Overdue(Exception):
    """An activity went on past its deadline, by the workflow's own timer."""

    def __str__(self) -> str:
        return "the activity was not carried on; is it paused in Temporal?"


async def until_done(
    running: workflow.ActivityHandle[Any],
    deadline: datetime,
    disturbed: Callable[[], bool],
    grace: timedelta | None = None,
) -> bool:
    """Wait for an activity. False if something else has to come first: it has been stopped then.

    `grace` is how long it may still end by itself when something else has to come first.

    Raises:
        Overdue: the server did not end it by its deadline: it keeps no deadline of an activity that is paused.
    """
    left = max(deadline + OVERDUE - workflow.now(), OVERDUE)
    try:
        in_time = await until(lambda: running.done() or disturbed(), left)
        if in_time and grace and not running.done():
            await until(running.done, grace)
    except asyncio.CancelledError:
        await stop(running)
        raise
    if not in_time:
        await stop(running)
        raise Overdue
    if not running.done():
        await stop(running)
        return False
    return True


async def stop(task: asyncio.Task[Any] | asyncio.Future[Any]) -> None:
    """Cancel, and wait until the activity behind it has really stopped, however it ended."""
    task.cancel()
    asked_to_stop: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await workflow.wait_condition(task.done)
        except asyncio.CancelledError as error:  # a person cancels the workflow itself meanwhile
            asked_to_stop = error
    if asked_to_stop:
        raise asked_to_stop
    failed = None if task.cancelled() else task.exception()
    if failed and not is_cancelled_exception(failed) and not isinstance(failed, FailureError):
        raise failed


async def set_status(mandate: Mandate, finding: Finding, deletion: DeletionRecord | None = None) -> None:
    """Write the CR's condition, and show its state where workflows are listed."""
    state = MEANING[finding.reason].state
    if workflow.info().typed_search_attributes.get(NAME_ATTRIBUTE):  # else the namespace knows none of them
        workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(state.value)])
    await quick(StatusActivities.set_status, StatusInput(mandate=mandate, finding=finding, deletion=deletion))


async def take_finalizer_off(mandate: Mandate, *, as_spare: bool = False) -> bool:
    """Have our finalizer taken off the CR. False: it stays, for the CR, a spare before, has become responsible."""
    removal = FinalizerRemoval(cluster=mandate.cluster, ref=mandate.ref, as_spare=as_spare)
    return not await quick(ResponsibilityActivities.remove_finalizer, removal)


async def last_words(mandate: Mandate, finding: Finding) -> None:
    """Write the CR's condition at the end of a run that a person stopped, without waiting for an absent API server."""
    try:
        input = StatusInput(mandate=mandate, finding=finding)
        await workflow.execute_local_activity_method(StatusActivities.set_status, input, **LOCAL)
    except FailureError as error:
        workflow.logger.warning("the CR does not say that a person stopped the run: %s", error.cause or error)


def count(outcome: str, seconds: float) -> None:
    """Count a workflow's end for Prometheus. The SDK leaves replays out."""
    labels = {"outcome": outcome}
    meter = workflow.metric_meter()
    meter.create_counter("btp_reconcile_total", "Workflows that ended, by how").add(1, labels)
    duration = meter.create_histogram_float("btp_reconcile_duration_seconds", "From a workflow's start to its end", "s")
    duration.record(seconds, labels)
