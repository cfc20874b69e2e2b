"""Heartbeats and failures, told the same way by every long activity."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from kube.errors import Conflict, Expired, KubeError, Unavailable
from models.conditions import Reason
from models.deprovision import Removed

HEARTBEAT_EVERY: Final = 0.5
"""Seconds. The SDK throttles what is sent; this often a cancellation can be noticed."""
STILL_WAITING: Final = "StillWaiting"
"""Failure type of an attempt that ended with something left: progress, not an error."""


class Progress:
    """What a long activity is waiting for, sent with every heartbeat: visible in the Temporal UI while it runs.

    What was removed so far travels along, so that the next attempt counts on. It is a count for people: an attempt
    that is killed may take the last half second of it along.
    """

    def __init__(self, removed: Removed) -> None:
        self.text = ""
        self.removed = removed

    def say(self, text: str) -> None:
        self.text = text
        self.beat()

    def beat(self) -> None:
        activity.heartbeat(self.text, self.removed)


@contextlib.asynccontextmanager
async def heartbeating() -> AsyncIterator[Progress]:
    """Heartbeat for as long as the block runs, so that a lost worker is noticed and a cancellation arrives."""
    progress = Progress(_removed_so_far())

    async def beat() -> None:
        while True:
            progress.beat()
            await asyncio.sleep(HEARTBEAT_EVERY)

    beating = asyncio.create_task(beat())
    try:
        yield progress
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


def _removed_so_far() -> Removed:
    """What earlier attempts counted; nothing if theirs was another version's heartbeat."""
    try:
        return Removed.model_validate(activity.info().heartbeat_details[1])
    except (IndexError, ValidationError):
        return Removed()


def still_waiting(message: str, pause: float = 1.0) -> ApplicationError:
    """Ends an attempt that has not reached its goal; the next one looks again after `pause` seconds."""
    return ApplicationError(
        message,
        type=STILL_WAITING,
        category=ApplicationErrorCategory.BENIGN,
        next_retry_delay=timedelta(seconds=pause),
    )


def permanent(reason: Reason, message: str) -> ApplicationError:
    """A failure that no retry mends; the workflow makes `reason` the CR's condition."""
    return ApplicationError(message, type=reason.value, non_retryable=True)


def failure(error: KubeError, reason: Reason, message: str) -> ApplicationError:
    """What an API error means for an activity: tried again if it may pass, else permanent under `reason`."""
    if not isinstance(error, Unavailable | Conflict | Expired):
        return permanent(reason, message)
    delay = timedelta(seconds=error.retry_after) if error.retry_after else None
    return ApplicationError(message, type=type(error).__name__, next_retry_delay=delay)
