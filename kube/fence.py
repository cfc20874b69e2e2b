"""Asks, when a connection is ready and a request is about to be written to it, whether what it rests on still holds.

Getting a connection may take seconds, and where a kept connection breaks the HTTP library sends a request again by
itself: so the question is asked at the last moment, each time.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

import aiohttp
from aiohttp.connector import Connection

ALLOWED: Final[ContextVar[Callable[[], bool] | None]] = ContextVar("allowed", default=None)
"""The question of the request that the current task sends; None where nothing has to hold."""


class NotSent(Exception):
    """What the request rests on no longer holds, so it was not sent."""


class FencedRequest(aiohttp.ClientRequest):
    """For a client session (`request_class`): asks before each sending. A connection that is not used is closed."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        allowed = ALLOWED.get()
        if allowed is not None and not allowed():
            raise NotSent
        return await super().send(conn)
