"""Delivers nudges: each CR at most once at a time, kept and retried while Temporal is away."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import Counter
from temporalio.service import RPCError

from models.operators import OperatorRef

AT_ONCE: Final = 8
LONGEST_PAUSE: Final = 5.0
NUDGES: Final = Counter("btp_trigger_nudges", "Workflows started or signalled", ("result",))
log = structlog.get_logger(__name__)


class Nudges:
    """A set of CRs to look at. Events that come while one waits to be delivered are the same nudge."""

    def __init__(self, deliver: Callable[[OperatorRef], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._waiting: set[OperatorRef] = set()
        self._some = asyncio.Event()
        self.trouble = ""
        """Why nudges cannot be delivered now; empty when they can."""

    def add(self, ref: OperatorRef) -> None:
        self._waiting.add(ref)
        self._some.set()

    async def run(self) -> None:
        """Deliver for ever."""
        pause = 0.0
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, set()
            failed = await self._send(batch)
            if not failed:
                if self.trouble:
                    log.info("Temporal is back", delivered=len(batch))
                self.trouble, pause = "", 0.0
                continue
            for ref in failed:
                self.add(ref)
            pause = min(max(pause * 2, 0.2), LONGEST_PAUSE)
            await asyncio.sleep(random.uniform(pause / 2, pause))

    async def _send(self, batch: set[OperatorRef]) -> list[OperatorRef]:
        room = asyncio.Semaphore(AT_ONCE)
        failed: list[OperatorRef] = []

        async def send(ref: OperatorRef) -> None:
            async with room:
                try:
                    await self._deliver(ref)
                    NUDGES.labels("delivered").inc()
                except RPCError as error:
                    NUDGES.labels("failed").inc()
                    failed.append(ref)
                    if not self.trouble:  # one line, not one for each retry
                        log.warning("nudges are kept until Temporal takes them", error=error.message)
                    self.trouble = error.message

        await asyncio.gather(*(send(ref) for ref in batch))
        return failed
