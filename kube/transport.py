"""One request to the Kubernetes API, over the asyncio client of the `kubernetes` package: sent, counted, tried again.

The package brings authentication and TLS. Its typed models are left out: they cost far more CPU and
memory than the request itself, and this manager mostly hands objects through.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import structlog
from prometheus_client import Counter

from kube.answers import Object, decoded, is_object
from kube.backoff import jittered
from kube.credentials import Access, access_from_environment
from kube.errors import Away, Conflict, KubeError, Refused, Stale, TooLong, Unavailable, error_from
from kube.fence import ALLOWED, NotSent
from kube.resources import NAMESPACES, Resource

CONNECT_SECONDS: Final = 5
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
CLUSTER: Final = "kube-system"
"""The Namespace that lives as long as its cluster: its uid says which cluster this is."""
ANSWERED_BY_OBJECT: Final = ("get", "apply", "create", "patch")
LOOKED_AT_EVERY: Final = 5.0
"""Seconds between two looks at whether credentials have changed, and between two tries to renew refused ones."""
LONGEST_LOAD: Final = 20.0
"""Seconds that a credential plugin may take."""

REQUESTS: Final = Counter("btp_kube_requests", "Requests to the Kubernetes API", ("verb", "kind", "code"))
SECONDS: Final = Counter("btp_kube_request_seconds", "Time spent in requests, watches apart", ("verb",))
log = structlog.get_logger(__name__)


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


@dataclass(eq=False)
class _Session:
    """Connections that were made with one access. Those of an old one are closed when their last request has ended."""

    access: Access
    requests: int = 0
    retired: bool = False

    async def close_if_idle(self) -> None:
        if self.retired and not self.requests:
            await self.access.api.close()


class Transport:
    """The connection to one cluster's API."""

    def __init__(self, access: Access, load: Callable[[str], Awaitable[Access]] | None = None) -> None:
        """Args:
        load: brings the access anew when it may have changed, given the token that was refused, if one was; None: it
            stays what it is.
        """
        self._session = _Session(access)
        self._load = load
        self._renewing = asyncio.Lock()
        self._looked = self._tried = time.monotonic()
        self._refused = False
        self._unanswered = False
        self._cluster = ""
        self.host = access.host
        self.astray = ""
        """Where the configuration leads now, in words, if it is not the cluster that this process began with."""

    @classmethod
    async def from_environment(cls, context: str = "") -> "Transport":
        """Raises:
        ValueError: no usable configuration was found.
        """
        access = await access_from_environment(context)
        # What somebody makes the current context later is theirs.
        return cls(access, partial(access_from_environment, access.context))

    def stay_with(self, uid: str) -> None:
        """Know the cluster by the uid of its Namespace kube-system. The first one counts, for as long as this lives."""
        self._cluster = self._cluster or uid

    async def close(self) -> None:
        await self._session.access.api.close()

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
        if not self._unanswered:
            return
        try:
            await self.probe(REACH_SECONDS)
        except Unavailable as error:
            if self._unanswered:  # else it was an answer, though not the one that was hoped for
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
        session = self._session
        try:
            async with self.send(request) as response:
                return await _taken(response, request)
        except Unavailable as error:
            if error.status != 401 or not await self._renewed_after(session):
                raise
        async with self.send(request) as response:
            return await _taken(response, request)

    async def _renewed_after(self, refused: _Session) -> bool:
        """Whether there are other credentials than those that were refused; asked for anew, not too often."""
        async with self._renewing:
            if self._session is refused and time.monotonic() - self._tried >= LOOKED_AT_EVERY:
                await self._renew(refused.access.token)
        return self._session is not refused

    async def _current(self) -> _Session:
        """The session to use now."""
        if time.monotonic() - self._looked >= LOOKED_AT_EVERY and not self._renewing.locked():
            async with self._renewing:
                self._looked = time.monotonic()
                if self._session.access.is_outdated():
                    await self._renew()
                else:
                    self.astray = ""  # whoever changed the configuration has changed it back
        return self._session

    async def _renew(self, refused: str = "") -> None:
        """Read the access again, and use it from now on if it has changed. What cannot be read leaves the old one."""
        if self._load is None:
            return
        self._tried = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_LOAD):
                access = await self._load(refused)
        except (ValueError, TimeoutError) as error:
            if not self._refused:  # one line for a state, not for each try
                log.warning("credentials for the API server cannot be read again", error=str(error)[:300])
            self._refused = True
            return
        self._refused = False
        old = self._session
        if access.digest == old.access.digest:
            # Nothing new: later files and a later end count all the same.
            await access.api.close()
            old.access = replace(access, api=old.access.api)
            self.astray = ""
            return
        new = _Session(access)
        if doubt := await self._elsewhere(new):
            if doubt != self.astray:
                log.error("staying with the cluster of the start", cluster=self.host, error=doubt)
            self.astray = doubt
            await access.api.close()
            return
        self.astray = ""
        self._session, self.host, old.retired = new, access.host, True
        log.info("read credentials for the API server again", cluster=access.host)
        await old.close_if_idle()

    async def _elsewhere(self, new: _Session) -> str:
        """Why these connections must not take the place of the old ones: they lead to another cluster, or may.

        All that this process knows, and has promised, is of one cluster.
        """
        if not self._cluster:
            return ""
        path, accept = NAMESPACES.path(None, CLUSTER), "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        request = Request("get", NAMESPACES, "GET", path, accept=accept, seconds=CONNECT_SECONDS)
        where = f"the configuration leads to {new.access.host} now"
        try:
            async with self._over(new, request) as response:
                found = decoded(await response.read())
            if not is_object(found):
                raise Unavailable("the answer is not an object of the API", status=200)
        except KubeError as error:
            if new.access.host == self.host:
                return ""  # new credentials for the old address: nobody has named another cluster
            return f"{where}, and whether that is the same cluster is not to be found out: {error}"
        if found["metadata"]["uid"] == self._cluster:
            return ""
        return f"{where}, which is another cluster; this process stays with the one it began with until a restart"

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it once, count it, and turn every way it can fail into a KubeError."""
        async with self._over(await self._current(), request) as response:
            yield response

    @asynccontextmanager
    async def _over(self, session: _Session, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        api = session.access.api
        headers = {"Accept": request.accept, "Content-Type": request.content_type, "User-Agent": api.user_agent}
        if request.most is not None:
            headers["Accept-Encoding"] = (
                "identity"  # what is counted is what arrives: a kilobyte can unpack to a megabyte
            )
        url = session.access.host + request.path
        if query := {key: value for key, value in (request.query or {}).items() if value}:
            url += "?" + urlencode(query)
        timeout = aiohttp.ClientTimeout(total=request.seconds, sock_connect=CONNECT_SECONDS, sock_read=request.silence)
        code, began = "none", time.perf_counter()
        if request.allowed and not request.allowed():  # asked once more when the connection is ready: kube.fence
            raise Stale(f"{request.doing}: not sent, the cluster has to be looked at again first")
        session.requests += 1
        try:
            await api.update_params_for_auth(headers, [], ["BearerToken"], request.path, request.method, request.body)
            fenced = ALLOWED.set(request.allowed)
            try:
                answer = await api.rest_client.request(
                    request.method, url, headers=headers, body=request.body, _request_timeout=timeout
                )
            finally:
                ALLOWED.reset(fenced)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                code, self._unanswered = str(response.status), False
                if response.status >= 400:
                    details = decoded(await response.read())
                    raise error_from(response.status, details, request.doing, response.headers.get("Retry-After"))
                yield response
        except NotSent as error:
            raise Stale(f"{request.doing}: not sent, the cluster has to be looked at again first") from error
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            self._unanswered = True
            raise Unavailable(f"{request.doing}: {type(error).__name__} {error}".strip()) from error
        finally:
            REQUESTS.labels(request.verb, request.resource.kind, code).inc()
            if request.verb != "watch":
                SECONDS.labels(request.verb).inc(time.perf_counter() - began)
            session.requests -= 1
            await session.close_if_idle()


async def _taken(response: aiohttp.ClientResponse, request: Request) -> bytes:
    """The body. Raises TooLong: there is more of it than the request takes."""
    if request.most is None:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > request.most:
            raise TooLong(f"{request.doing}: the answer has more than {request.most} bytes", status=response.status)
    return bytes(body)
