"""How workflows call activities: the options that belong together, each with its reason."""

import asyncio
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, TimeoutError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.progress import STILL_WAITING
    from activities.status import StatusActivities
    from dispatch.search_attributes import NAME_ATTRIBUTE, STATE_ATTRIBUTE
    from models.conditions import MEANING, Reason
    from models.operators import OperatorRef
    from models.status import Finding, StatusInput

QUICK: Final[dict[str, Any]] = {
    # A look or a write of milliseconds, run beside the workflow task: no round trip through the server. Retried for
    # as long as the API server is away.
    "start_to_close_timeout": timedelta(seconds=20),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        maximum_interval=timedelta(seconds=4),
        non_retryable_error_types=["Refused"],
    ),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
}

LONG: Final[dict[str, Any]] = {
    # Heartbeats twice a second: this long after the last one its worker counts as lost and the next attempt begins.
    "heartbeat_timeout": timedelta(seconds=5),
    # A cancelled activity may be in the middle of a write. Whoever cancels goes on only when it has really stopped.
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10), backoff_coefficient=2.0
    ),
}


LONGEST_HISTORY: Final = 1000
"""Events after which a run goes on as a new one: replays stay short however many events a CR gets."""


def history_is_long() -> bool:
    return workflow.info().get_current_history_length() > LONGEST_HISTORY


async def stop(task: asyncio.Task[Any] | asyncio.Future[Any]) -> None:
    """Cancel, and wait until the activity behind it has really stopped, however it ended."""
    task.cancel()
    try:
        await task
    except BaseException as error:
        if not is_cancelled_exception(error) and not isinstance(error, FailureError):
            raise


async def set_status(ref: OperatorRef, finding: Finding) -> None:
    """Write the CR's condition, and show its state where workflows are listed."""
    state = MEANING[finding.reason].state
    if workflow.info().typed_search_attributes.get(NAME_ATTRIBUTE):  # else the namespace knows none of them
        workflow.upsert_search_attributes([STATE_ATTRIBUTE.value_set(state.value)])
    await workflow.execute_local_activity_method(
        StatusActivities.set_status, StatusInput(ref=ref, finding=finding), **QUICK
    )


def count(outcome: str, seconds: float) -> None:
    """Count a workflow's end for Prometheus. The SDK leaves replays out."""
    labels = {"outcome": outcome}
    meter = workflow.metric_meter()
    meter.create_counter("btp_reconcile_total", "Workflows that ended, by how").add(1, labels)
    duration = meter.create_histogram_float("btp_reconcile_duration_seconds", "From a workflow's start to its end", "s")
    duration.record(seconds, labels)


def _cause(error: FailureError) -> BaseException | None:
    """Why an activity failed. A local one's failure comes as it is, any other's inside an ActivityError."""
    return error.cause if isinstance(error, ActivityError) else error


def explain(error: FailureError) -> Finding | None:
    """What a failed activity says about the cluster; None if its failure has no reason of ours."""
    cause = _cause(error)
    if isinstance(cause, ApplicationError) and cause.type in set(Reason):
        return Finding(reason=Reason(cause.type), message=cause.message)
    return None


def said(error: FailureError) -> str:
    """The last words of a failed activity: its failure, or what it was waiting for when the time was over."""
    cause = _cause(error)
    if isinstance(cause, TimeoutError):
        last = cause.cause
        if isinstance(last, ApplicationError):
            return last.message
        if cause.last_heartbeat_details and cause.last_heartbeat_details[0]:
            return str(cause.last_heartbeat_details[0])
        what = error.activity_type if isinstance(error, ActivityError) else "an activity"
        return f"{what} did not finish in time; is a worker running, and is the API server up?"
    if isinstance(cause, ApplicationError):
        return cause.message
    return str(cause or error)


def ran_out_of_time(error: FailureError) -> bool:
    """Whether the deadline ended it, rather than an error."""
    cause = _cause(error)
    return isinstance(cause, TimeoutError) or (isinstance(cause, ApplicationError) and cause.type == STILL_WAITING)
