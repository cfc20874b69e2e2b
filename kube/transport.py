"""A request to the Kubernetes API as everything above asks for it: what passes by itself is tried again right here."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from kube.answers import Object, decoded, is_object
from kube.backoff import jittered
from kube.connections import Connections
from kube.errors import Away, Conflict, KubeError, Refused, Unavailable
from kube.request import Request, taken
from kube.resources import Resource

REACH_SECONDS: Final = 2.0
"""For the small question whether a server that did not answer last time answers now."""
PAUSES: Final = (0.1, 0.5, 1.0)
"""Seconds before another try of the same request."""
LONGEST_WAIT: Final = 3.0
"""Seconds that a Retry-After may ask for to be waited right here; a longer one is left to whoever asked."""
TRIED_AGAIN: Final[Mapping[str, tuple[type[KubeError], ...]]] = {
    "get": (Unavailable,),
    "list": (Unavailable,),
    "apply": (Unavailable, Conflict),
    "patch": (Unavailable,),
    "delete": (Unavailable, Conflict),
    "deletecollection": (Conflict,),  # an operand's webhook that cannot be reached is not pressed
}
"""What is tried again, by verb: only requests of which a second one changes nothing."""
READYZ: Final = Resource("", "v1", "APIServer", "readyz", namespaced=False)
ANSWERED_BY_OBJECT: Final = ("get", "apply", "create", "patch")


class Transport:
    """Requests to one cluster's API."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections

    async def ask(self, request: Request) -> Object:
        """The decoded answer; what passes by itself in a moment is tried again right here.

        Raises:
            Away: the server has fallen silent. Whoever else is given the work may hear it.
            KubeError: see kube.errors.
        """
        answer, _ = await self.measured(request)
        return answer

    async def measured(self, request: Request) -> tuple[Object, int]:
        """The same, with the number of bytes that it took."""
        for pause in PAUSES if request.verb in TRIED_AGAIN else ():
            began = time.monotonic()
            try:
                return await self._answer(request)
            except (Unavailable, Conflict) as error:
                if not isinstance(error, TRIED_AGAIN[request.verb]) or (error.retry_after or 0) > LONGEST_WAIT:
                    raise
                await asyncio.sleep(max(error.retry_after or 0, jittered(pause)))
                if time.monotonic() - began > REACH_SECONDS:
                    await self.reach()  # a server that is silent is not asked at the same length again
        return await self._answer(request)

    async def reach(self) -> None:
        """Before work begins: where the last request had no answer, see soon whether there is one now.

        Raises:
            Away: there is none. Whoever else is given the work may have one.
        """
        if not self.connections.last.unanswered:
            return
        try:
            await self.probe(REACH_SECONDS)
        except Unavailable as error:
            if self.connections.last.unanswered:  # else it was an answer, though not the one that was hoped for
                raise Away(str(error)) from None  # a short failure: it is said again and again

    async def probe(self, seconds: float = 30) -> None:
        """Have the API server say that it is ready, etcd included; whoever may not ask that has an answer too.

        Raises:
            KubeError: see kube.errors.
        """
        with contextlib.suppress(Refused):
            await self._body(Request("probe", READYZ, "GET", "/readyz", accept="*/*", seconds=seconds))

    async def _answer(self, request: Request) -> tuple[Object, int]:
        body = await self._body(request)
        answer = decoded(body)
        if not isinstance(answer, dict) or (request.verb in ANSWERED_BY_OBJECT and not is_object(answer)):
            what = f"{request.verb} {request.resource.plural}"
            raise Unavailable(f"{what}: the answer is not an object of the API", status=200)
        return answer, len(body)

    async def _body(self, request: Request) -> bytes:
        """What is answered; asked once more where other credentials than those that were refused are to be had."""
        session = self.connections.last
        try:
            async with self.send(request) as response:
                return await taken(response, request)
        except Unavailable as error:
            if error.status != 401 or not await self.connections.renewed_after(session):
                raise
        async with self.send(request) as response:
            return await taken(response, request)

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it once; see Session."""
        session = await self.connections.current()
        async with session.send(request) as response:
            yield response
