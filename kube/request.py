"""One request to the Kubernetes API, over the asyncio client of the `kubernetes` package: sent once, and counted.

The package brings authentication and TLS. Its typed models are left out: they cost far more CPU and
memory than the request itself, and this manager mostly hands objects through.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from prometheus_client import Counter

from kube.answers import decoded
from kube.credentials import Access
from kube.errors import Stale, TooLong, Unavailable, error_from
from kube.fence import ALLOWED, NotSent
from kube.resources import Resource

CONNECT_SECONDS: Final = 5

REQUESTS: Final = Counter("btp_kube_requests", "Requests to the Kubernetes API", ("verb", "kind", "code"))
SECONDS: Final = Counter("btp_kube_request_seconds", "Time spent in requests, watches apart", ("verb",))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for.

    The verb is Kubernetes' own, as RBAC and audit logs have it, with `apply` and `dry-run` for its patch.
    """

    verb: str
    resource: Resource
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Any = None
    accept: str = "application/json"
    content_type: str = "application/json"
    seconds: float = 30
    """How long it may take in all."""
    silence: float | None = None
    """How long nothing may be heard, in seconds."""
    most: int | None = None
    """Bytes of the answer that are taken; None for all."""
    allowed: Callable[[], bool] | None = None
    """Asked right before it is sent, each time: whether what it rests on still holds."""

    @property
    def doing(self) -> str:
        """For error messages, without host and API version."""
        return f"{self.verb} {self.path.partition(f'/{self.resource.version}/')[2] or self.path}"

    def may_be_sent(self) -> None:
        """Raise Stale where what it rests on no longer holds."""
        if self.allowed and not self.allowed():
            raise self.not_sent()

    def not_sent(self) -> Stale:
        return Stale(f"{self.doing}: not sent, the cluster has to be looked at again first")


@dataclass(eq=False)
class Session:
    """Connections that were made with one access. Those of an old one are closed when their last request has ended."""

    access: Access
    requests: int = 0
    retired: bool = False
    unanswered: bool = False
    """Whether the last request that was sent had no answer at all."""

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it once, count it, and turn every way it can fail into a KubeError.

        Raises:
            Stale: it is not allowed, so it was not sent.
            KubeError: see kube.errors.
        """
        code, began = "none", time.perf_counter()
        request.may_be_sent()  # asked once more when the connection is ready: kube.fence
        self.requests += 1
        try:
            response = await self._response(request)
            async with response:
                code, self.unanswered = str(response.status), False
                if response.status >= 400:
                    details = decoded(await response.read())
                    raise error_from(response.status, details, request.doing, response.headers.get("Retry-After"))
                yield response
        except NotSent as error:
            raise request.not_sent() from error
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            self.unanswered = True
            raise Unavailable(f"{request.doing}: {type(error).__name__} {error}".strip()) from error
        finally:
            REQUESTS.labels(request.verb, request.resource.kind, code).inc()
            if request.verb != "watch":
                SECONDS.labels(request.verb).inc(time.perf_counter() - began)
            self.requests -= 1
            await self.close_if_idle()

    async def _response(self, request: Request) -> aiohttp.ClientResponse:
        api = self.access.api
        headers = {"Accept": request.accept, "Content-Type": request.content_type, "User-Agent": api.user_agent}
        if request.most is not None:
            # What is counted is what arrives: a kilobyte can unpack to a megabyte.
            headers["Accept-Encoding"] = "identity"
        url = self.access.host + request.path
        if query := {key: value for key, value in (request.query or {}).items() if value}:
            url += "?" + urlencode(query)
        timeout = aiohttp.ClientTimeout(total=request.seconds, sock_connect=CONNECT_SECONDS, sock_read=request.silence)
        await api.update_params_for_auth(headers, [], ["BearerToken"], request.path, request.method, request.body)
        fenced = ALLOWED.set(request.allowed)
        try:
            answer = await api.rest_client.request(
                request.method, url, headers=headers, body=request.body, _request_timeout=timeout
            )
        finally:
            ALLOWED.reset(fenced)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def close_if_idle(self) -> None:
        if self.retired and not self.requests:
            await self.access.api.close()


async def taken(response: aiohttp.ClientResponse, request: Request) -> bytes:
    """The body. Raises TooLong: there is more of it than the request takes."""
    if request.most is None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > request.most:
            raise TooLong(f"{request.doing}: the answer has more than {request.most} bytes", status=response.status)
    return bytes(body)
