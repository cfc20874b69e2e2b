"""Delivers nudges: each CR at most once at a time, kept and retried while Temporal is away."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import Counter
from temporalio.service import RPCError

from kube.backoff import pause_after
from kube.side_by_side import side_by_side
from models.operators import OperatorRef

SPACING: Final = 0.25
"""Seconds between two nudges of one CR. The first goes out at once; a burst behind it becomes one more."""
NUDGES: Final = Counter("btp_trigger_nudges", "Workflows started or signalled", ("result",))
for _result in ("delivered", "failed"):
    NUDGES.labels(_result)  # shown as 0: a rate needs a beginning
log = structlog.get_logger(__name__)


class Nudges:
    """A set of CRs to look at. Events that come while one waits to be delivered are the same nudge."""

    def __init__(self, deliver: Callable[[OperatorRef], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._due: dict[OperatorRef, float] = {}
        self._last: dict[OperatorRef, float] = {}
        self._some = asyncio.Event()
        self.trouble = ""
        """Why nudges cannot be delivered now; empty when they can."""

    def add(self, ref: OperatorRef) -> None:
        """Have the CR looked at, soon."""
        self._due.setdefault(ref, self._last.get(ref, -SPACING) + SPACING)
        self._some.set()

    async def run(self) -> None:
        """Deliver for ever."""
        failures = 0
        while True:
            await self._some.wait()
            now = time.monotonic()
            batch = [ref for ref, due in self._due.items() if due <= now]
            if not batch:
                await asyncio.sleep(min(self._due.values()) - now)
                continue
            for ref in batch:
                del self._due[ref]
            self._last = {ref: at for ref, at in self._last.items() if at > now - SPACING} | dict.fromkeys(batch, now)
            if not self._due:
                self._some.clear()
            if failed := await self._send(batch):
                for ref in failed:
                    self.add(ref)
                failures += 1
                await asyncio.sleep(pause_after(failures))
                continue
            if self.trouble:
                log.info("Temporal is back", delivered=len(batch))
            self.trouble, failures = "", 0

    async def _send(self, batch: list[OperatorRef]) -> list[OperatorRef]:
        failed: list[OperatorRef] = []

        async def send(ref: OperatorRef) -> None:
            try:
                await self._deliver(ref)
                NUDGES.labels("delivered").inc()
            except RPCError as error:
                NUDGES.labels("failed").inc()
                failed.append(ref)
                if not self.trouble:  # one line, not one for each retry
                    log.warning("nudges are kept until Temporal takes them", error=error.message)
                self.trouble = error.message

        await side_by_side(send, batch)
        return failed
