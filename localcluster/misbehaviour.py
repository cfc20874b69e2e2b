"""The ways in which the stand-in Service Manager can answer badly, one rule for each."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Fault:
    """What happens to the next requests that match, instead of or besides what they ask for."""

    method: str = ""
    """Such as DELETE; empty for any."""
    path: str = ""
    """A regular expression that is searched in the path."""
    times: int = 1
    """How many requests it is applied to."""
    status: int = 0
    """The answer, without anything being done; 0: what was asked for is done."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Text as it is, anything else as JSON."""
    seconds: float = 0.0
    """How long nothing happens at first."""
    lost: bool = False
    """The answer never arrives: the connection ends instead, after everything was done."""
    query: str = ""
    """What the query has to contain."""
    then: Callable[[], None] = lambda: None
    """Called before the answer goes out."""

    def matches(self, request: web.Request) -> bool:
        if self.times <= 0 or self.method not in ("", request.method):
            return False
        return bool(re.search(self.path, request.path)) and self.query in request.query_string

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        if self.status:
            text = self.body if isinstance(self.body, str) else json.dumps(self.body or {})
            self.then()
            return web.Response(status=self.status, headers=self.headers, text=text, content_type="application/json")
        answer = await handler(request)
        self.then()
        if self.lost and request.transport:
            request.transport.abort()
        return answer


def throttled(retry_after: str, method: str = "", path: str = "", times: int = 1) -> Fault:
    """429, with a Retry-After in seconds or as a date."""
    body = {"error": "TooManyRequests", "description": "too many requests"}
    return Fault(method, path, times, status=429, headers={"Retry-After": retry_after}, body=body)


def unknown_route(method: str = "", path: str = "", times: int = 1) -> Fault:
    """The 404 of a Cloud Foundry router whose route is away: nothing was asked, so nothing is known."""
    headers = {"X-Cf-RouterError": "unknown_route"}
    return Fault(method, path, times, status=404, headers=headers, body="404 Not Found: Requested route does not exist")


def bad_gateway(method: str = "", path: str = "", times: int = 1) -> Fault:
    """502, as a broker's failure arrives."""
    return Fault(method, path, times, status=502, body={"error": "BrokerError", "description": "the broker is away"})


def lost_answer(method: str = "", path: str = "", times: int = 1) -> Fault:
    """All is done, and nobody hears of it."""
    return Fault(method, path, times, lost=True)
