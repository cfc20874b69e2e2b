"""Whether Temporal answers a worker's polls: without that it has no work, however well everything else is."""

import time
from typing import Final

from runtime.telemetry import PollCounts, SdkTelemetry

LONGEST_SILENCE: Final = 100.0
"""Seconds. The server ends a poll for which there is nothing after about 60, the SDK gives one up after 70."""


class Polls:
    """Follows the SDK's counters."""

    def __init__(self, sdk: SdkTelemetry) -> None:
        self._sdk = sdk
        self._before = PollCounts(0, 0, 0)
        self._answered_at = time.monotonic()

    async def ask(self) -> None:
        """Raises:
        ConnectionError: no poll was answered for too long, though some were sent.
        """
        now, counts = time.monotonic(), await self._sdk.polls()
        busy = not counts.open and counts.failed == self._before.failed  # every slot is taken: nothing is asked for
        if counts.answered != self._before.answered or busy:
            self._answered_at = now
        self._before = counts
        if now - self._answered_at > LONGEST_SILENCE:
            raise ConnectionError(f"no poll was answered for {now - self._answered_at:.0f} s")
