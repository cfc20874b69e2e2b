"""What a failed activity says: about the cluster, to people, and about whether anybody really tried."""

from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    RetryState,
    TimeoutError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from models.conditions import Reason
    from models.deprovision import Removed
    from models.names import HELD_BY_US, MANDATE_LOST, NEWS, OTHER_CLUSTER
    from models.status import Finding

LONGEST_OUTAGE: Final = timedelta(minutes=2)
SHORTEST_OUTAGE: Final = timedelta(seconds=8)
"""A deadline counts only if somebody tried until so long before it: a third of the limit, between these two. The
shorter one is longer than a look (3 s) and the heartbeat that tells of it (3 s) may take together."""
AWAY: Final = "Away"
"""The failure type of a worker that does not reach the API server: trying on there would only take time."""
PASSING: Final = ("Unavailable", AWAY, "Silent", "Conflict", "Expired", "Stale", "Passing", OTHER_CLUSTER)
"""Failure types that say that the API server, or the right worker, is away for now."""


def cause_of(error: FailureError) -> BaseException:
    """Why an activity failed. A local one's failure comes as it is, any other's inside an ActivityError."""
    return (error.cause or error) if isinstance(error, ActivityError) else error


def failure_type(error: FailureError) -> str:
    """The type that the activity's edge gave the failure; empty for a timeout."""
    cause = cause_of(error)
    return cause.type or "" if isinstance(cause, ApplicationError) else ""


def was_cancelled(error: BaseException) -> bool:
    """Whether somebody cancelled it; also while it waited for its next attempt, whose last failure it carries then."""
    waiting = isinstance(error, ActivityError) and error.retry_state is RetryState.CANCEL_REQUESTED
    return waiting or is_cancelled_exception(error)


def is_lost_mandate(error: BaseException) -> bool:
    """Whether the CR no longer asked for what was done: an outcome, not an error."""
    return isinstance(error, FailureError) and failure_type(error) == MANDATE_LOST


def is_news(error: FailureError) -> bool:
    """Whether a wait ended early because the CR has to say something, and goes on afterwards."""
    return failure_type(error) == NEWS


def is_held_by_us(error: FailureError) -> bool:
    """Whether a wait ended early because soft delete has to release what holds it."""
    return failure_type(error) == HELD_BY_US


def removed_until(error: FailureError) -> Removed:
    """What an activity had removed that lost its mandate, or ended because the CR has to say something."""
    cause = cause_of(error)
    details = list(cause.details) if isinstance(cause, ApplicationError) else []
    return Removed.model_validate(details[-1]) if details else Removed()


def may_pass(error: FailureError) -> bool:
    """Whether nothing is known but that something was away: no answer came."""
    return not was_cancelled(error) and (failure_type(error) in PASSING or isinstance(cause_of(error), TimeoutError))


def is_away(error: FailureError) -> bool:
    """Whether no worker was there, or none that reaches the right API server: nobody could even ask."""
    if was_cancelled(error):
        return False
    cause = cause_of(error)
    last = cause.cause if isinstance(cause, TimeoutError) else cause
    if isinstance(last, ApplicationError):
        return last.type in (AWAY, OTHER_CLUSTER) or _is_shutdown(last)
    return last is None


def explain(error: FailureError) -> Finding | None:
    """What a failed activity says about the cluster; None if its failure has no reason of ours."""
    cause = cause_of(error)
    if isinstance(cause, ApplicationError) and cause.type in set(Reason):
        return Finding(reason=Reason(cause.type), message=cause.message)
    return None


def said(error: FailureError) -> str:
    """The last words of a failed activity: what it was waiting for, or its failure."""
    cause = cause_of(error)
    if isinstance(cause, TimeoutError):
        last = cause.cause
        if isinstance(last, ApplicationError) and not _is_shutdown(last):
            return last.message
        if cause.last_heartbeat_details and cause.last_heartbeat_details[0]:
            return str(cause.last_heartbeat_details[0])
        what = error.activity_type if isinstance(error, ActivityError) else "an activity"
        return f"{what} did not finish in time; is a worker running, and is the API server up?"
    if isinstance(cause, ApplicationError):
        return cause.message
    return str(cause)


def ran_out_of_time(error: FailureError) -> bool:
    """Whether the deadline ended it: no time was left for another attempt, whatever the last one met."""
    if isinstance(error, ActivityError) and error.retry_state is RetryState.TIMEOUT:
        return True
    return isinstance(cause_of(error), TimeoutError)


def nobody_tried(error: FailureError, deadline: datetime, limit: timedelta) -> bool:
    """Whether a deadline passed while no worker, no Temporal or no API server was there to use the time before it.

    Attempts say in heartbeats and failures when the API server last answered them.
    """
    if was_cancelled(error) or not ran_out_of_time(error):
        return False
    answered = _last_answer(error)
    return answered is None or answered < deadline - longest_outage(limit)


def longest_outage(limit: timedelta) -> timedelta:
    """How long before its deadline a wait with this limit may have been without an answer, and still counts."""
    return min(LONGEST_OUTAGE, max(limit / 3, SHORTEST_OUTAGE))


def _last_answer(error: FailureError) -> datetime | None:
    cause = cause_of(error)
    found: list[Any] = []
    if isinstance(cause, TimeoutError):
        found += list(cause.last_heartbeat_details)[2:3]
        cause = cause.cause or cause
    if isinstance(cause, ApplicationError):
        found += list(cause.details)[:1]
    moments = [moment for moment in map(_moment, found) if moment]
    return max(moments, default=None)


def _moment(detail: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(detail) if isinstance(detail, str) else None
    except ValueError:
        return None


def _is_shutdown(error: ApplicationError) -> bool:
    """Whether the SDK ended the attempt because its worker stopped."""
    return error.type == "WorkerShutdown" or error.message.startswith("Worker is shutting down")
