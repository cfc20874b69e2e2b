"""Whether whoever this process needs answers, found out by asking: who says nothing is away, and so is who refuses."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from kube.client import Kube
from kube.errors import KubeError

EVERY: Final = 8.0
PATIENCE: Final = 5.0
"""Seconds between two questions and for an answer: together below the 15 that docs/operations.md promises."""
AGAIN: Final = 1.0
"""Seconds until somebody who is away is asked again: a start and a return are seen soon."""
REFUSED_FOR: Final = 600.0
"""Seconds of refusal after which the process asks to be restarted: it may then find other credentials."""
log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """Whoever was asked answers, and does not take our credentials. An outage is not this."""


class Contact:
    """One of those who must answer."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[object]]) -> None:
        """Args:
        ask: one cheap real request. Whatever it raises counts as no answer, RefusedError also as a refusal.
        """
        self.name = name
        self._ask = ask
        self._refused_since: float | None = None
        self.trouble = f"{name}: not asked yet"
        """Why it is away, in words; empty when it answers."""

    async def follow(self) -> None:
        """Ask for ever."""
        while True:
            await self.look()
            await asyncio.sleep(AGAIN if self.trouble else EVERY)

    async def look(self) -> None:
        """Ask once."""
        before, why, refused = self.trouble, "", False
        try:
            async with asyncio.timeout(PATIENCE):
                await self._ask()
        except TimeoutError:
            why = f"no answer within {PATIENCE:.0f} s"
        except Exception as error:
            why, refused = str(error)[:300] or type(error).__name__, isinstance(error, RefusedError)
        self._refused_since = (self._refused_since or time.monotonic()) if refused else None
        self.trouble = f"{self.name}: {why}" if why else ""
        if bool(self.trouble) != bool(before):  # one line for a state, not for each question
            log.info("answers", who=self.name) if not why else log.warning("is away", who=self.name, error=why)

    @property
    def refused_for_long(self) -> str:
        """What only other credentials repair, and a restart may bring; empty when there is no such thing."""
        since = self._refused_since
        return self.trouble if since is not None and time.monotonic() - since > REFUSED_FOR else ""


def api_server(kube: Kube) -> Contact:
    """The API server of the cluster."""

    async def ask() -> None:
        try:
            await kube.answers()
        except KubeError as error:
            if error.status == 401:
                raise RefusedError(said(str(error), kube.astray)) from error
            raise
        if kube.astray:  # the work goes on where it began; a person has to say what is meant
            raise ConnectionError(kube.astray)

    return Contact(f"the API server at {kube.host}", ask)


def said(*troubles: str) -> str:
    """Several troubles as one line; empty when there is none."""
    return "; ".join(filter(None, troubles))
