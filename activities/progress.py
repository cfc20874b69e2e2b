"""Heartbeats of long activities: what they wait for, what they did, and when the API server last answered them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from kube.errors import KubeError
from models.deprovision import Removed
from models.names import HELD_BY_US, NEWS, STILL_WAITING
from operand.errors import Failure, Permanent
from operand.mandated import MandateLost

HEARTBEAT_EVERY: Final = 0.5
"""Seconds. The worker sends the latest one every 3 s, and hears of a cancellation then."""
LAST: Final = 0.25
"""The last share of the time of all attempts: none ends any more to report something, for what is begun anew shortly
before the deadline would be no real try."""
REFUSED_FOR: Final = timedelta(seconds=5)
"""After which the CR says what is refused, and tried again: most passes sooner."""
LONGEST: Final = 2000
"""Characters of what is said: a heartbeat is stored at each beat."""


class Progress:
    """What a long activity is waiting for, sent with every heartbeat: visible in the Temporal UI while it runs.

    What was removed so far travels along, so that the next attempt counts on. It is a count for people: an attempt
    that is killed may take the last few seconds of it along.
    """

    def __init__(self, removed: Removed) -> None:
        self.text = ""
        self.removed = removed
        self.answered: datetime | None = None
        """When the API server last answered this attempt, by the clock of the Temporal server."""
        self._began = time.monotonic()
        self._started = activity.info().started_time

    def _now(self) -> datetime:
        """By the clock of the Temporal server: this process's own may be wrong."""
        return self._started + timedelta(seconds=time.monotonic() - self._began)

    def share_left(self) -> float:
        """Of the time that all attempts have together, the share that is left, by the clock of the Temporal server."""
        info = activity.info()
        if not info.schedule_to_close_timeout:
            return 1.0
        return 1 - (self._now() - info.scheduled_time) / info.schedule_to_close_timeout

    def time_left(self) -> timedelta:
        """Until Temporal gives this activity up, whichever attempt runs then, by the clock of the Temporal server."""
        info = activity.info()
        limit = info.schedule_to_close_timeout
        return info.scheduled_time + limit - self._now() if limit else timedelta(days=1)

    def say(self, text: str) -> None:
        self.text = text[:LONGEST]
        self.beat()

    def got_answer(self, seconds_ago: float = 0.0) -> None:
        """The API server answered: this attempt is a real one."""
        self.answered = self._started + timedelta(seconds=max(time.monotonic() - self._began - seconds_ago, 0.0))

    def beat(self) -> None:
        activity.heartbeat(self.text, self.removed, self.answered)

    def still_waiting(self, message: str, pause: float = 1.0) -> ApplicationError:
        """Ends an attempt that has not reached its goal; the next one looks again after `pause` seconds."""
        return ApplicationError(
            message[:LONGEST],
            self.answered,
            type=STILL_WAITING,
            category=ApplicationErrorCategory.BENIGN,
            next_retry_delay=timedelta(seconds=pause),
        )

    def is_news(self, error: Failure | KubeError, told: str) -> bool:
        """Whether the CR should say what an API server that answers has refused for a while, and does not say it."""
        lasting = self._now() - activity.info().scheduled_time > REFUSED_FOR
        heard = self.answered is not None and not isinstance(error, Permanent)
        return heard and lasting and str(error)[:LONGEST] != told and self.share_left() > LAST

    def news(self, message: str) -> ApplicationError:
        """Ends a wait before its goal: the CR has to say this. The workflow waits on afterwards."""
        return self._early_end(message, NEWS)

    def held_by_us(self, message: str) -> ApplicationError:
        """Ends a wait before its goal: soft delete has to release what holds it. The workflow waits on afterwards."""
        return self._early_end(message, HELD_BY_US)

    def _early_end(self, message: str, type: str) -> ApplicationError:
        return ApplicationError(
            message[:LONGEST],
            self.answered,
            self.removed,
            type=type,
            category=ApplicationErrorCategory.BENIGN,
            non_retryable=True,
        )


@contextlib.asynccontextmanager
async def heartbeating(removed: Removed | None = None, told: str | None = None) -> AsyncIterator[Progress]:
    """Heartbeat for as long as the block runs, so that a lost worker is noticed and a cancellation arrives.

    `removed` is what earlier activities of the same step removed; `told` what the CR says already that it waits for,
    where the workflow takes news.
    """
    progress = Progress(_removed_so_far(removed or Removed()))

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_EVERY)  # the first look is over by then, and what it heard goes along
            progress.beat()

    beating = asyncio.create_task(beat())
    try:
        yield progress
    except MandateLost as lost:
        lost.removed = progress.removed
        raise
    except (Failure, KubeError) as error:
        error.answered = progress.answered
        if told is not None and progress.is_news(error, told):
            raise progress.news(str(error)) from None
        raise
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating


def _removed_so_far(before: Removed) -> Removed:
    """What earlier attempts counted; only what was known before if theirs was another version's heartbeat."""
    try:
        return Removed.model_validate(activity.info().heartbeat_details[1])
    except (IndexError, ValidationError):
        return before
