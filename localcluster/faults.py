"""A proxy between the manager and the API server that does what networks and servers do: fail, in every known way.

It terminates TLS with the API server's own certificate, so clients need no other kubeconfig than one with its address.
"""

import asyncio
import json
import random
import re
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from localcluster.controlplane import ControlPlane
from localcluster.started import ThreadedServer

HOP_BY_HOP: Final = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding"}
WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")


@dataclass
class Fault:
    """What happens to the requests that it matches. What is not set does not happen."""

    methods: tuple[str, ...] = ()
    path: str = ""
    """A regular expression that is searched in the path and query."""
    watch: bool | None = None
    """Only watches, or only other requests."""
    times: int | None = None
    """After so many requests it is over; None: never."""
    first: bool = False
    """Only the first request of each method and path."""
    chance: float = 1.0

    status: int = 0
    """Answered so, and not passed on."""
    retry_after: str = ""
    body: bytes | None = None
    """Answered so, with the status or 200."""
    latency: float = 0.0
    """Seconds before it is passed on."""
    reset: bool = False
    """The connection is closed without an answer."""
    lose_answer: bool = False
    """It is passed on and takes effect, and the connection is closed without an answer."""
    stale: bool = False
    """Of each list, the second answer is the first one again: it is older than what happened since."""
    truncate: bool = False
    """A watch's first event is cut in the middle of its line, and the connection closed."""
    silent: bool = False
    """A watch is kept open and nothing more is said: a half-open connection."""
    deaf: bool = False
    """A watch is told nothing, and ends in order when its time is over: a server that is behind, or was restored."""
    rewind: bool = False
    """A watch's first event is replaced by a bookmark of a version long before."""
    expire: bool = False
    """A watch's first event is replaced by an ERROR event with status 410."""
    shuffle: bool = False
    """A watch says every event twice, and now and then in another order (never of one object)."""
    then: Callable[[], None] = lambda: None
    """Called before the answer is passed on, whoever gave it; not for watches."""
    hits: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def matches(self, request: web.BaseRequest) -> bool:
        """Whether this request is hit; counts it."""
        watching = request.query.get("watch") == "true"
        if (
            (self.methods and request.method not in self.methods)
            or (self.path and not re.search(self.path, request.path_qs))
            or (self.watch is not None and self.watch != watching)
            or (self.times is not None and self.hits >= self.times)
            or random.random() > self.chance
        ):
            return False
        if self.first and (request.method, request.path) in self._seen:
            return False
        self._seen.add((request.method, request.path))
        self.hits += 1
        return True


class FaultProxy(ThreadedServer):
    """`faults` may be changed at any time; `connections` counts those that are open."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster
        super().__init__("fault-proxy")
        self.faults: list[Fault] = []
        self.writes: list[str] = []
        """Method and path of every write that took effect."""
        self.requests: Counter[str] = Counter()
        """Requests by HTTP method, and WATCH."""
        self.queries: list[str] = []
        """Query of every watch, in order."""
        self.on_write: Callable[[int], None] = lambda count: None
        """Called with the number of writes so far, when one has taken effect and before its answer is passed on."""
        self.watching = 0
        """Watches that are open."""
        self._transports: set[asyncio.Transport] = set()
        self._lists: dict[str, list[bytes]] = {}

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def add(self, fault: Fault) -> Fault:
        self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """From now on everything works, and writes are counted from one."""
        self.faults.clear()
        self.writes.clear()
        self._lists.clear()
        self.on_write = lambda count: None

    def hang_up(self) -> None:
        """Close every open watch's connection."""
        for transport in list(self._transports):
            self._loop.call_soon_threadsafe(transport.abort)

    def present(self, certificate: Path) -> None:
        """Show another certificate from now on, from a file that has its key too; every watch begins anew."""
        self._identity.load_cert_chain(certificate)
        self.hang_up()

    async def _serve(self) -> None:
        certificate = self._cluster.certificate
        trust = ssl.create_default_context(cafile=str(certificate))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trust, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=2**21,
        )
        self._identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._identity.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self._runner = web.ServerRunner(web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._identity).start()

    async def _cleanup(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        watching = request.query.get("watch") == "true"
        self.requests["WATCH" if watching else request.method] += 1
        if watching:
            self.queries.append(request.query_string)
        faults = [fault for fault in list(self.faults) if fault.matches(request)]
        await asyncio.sleep(sum(fault.latency for fault in faults))
        for fault in faults:
            if fault.reset:
                fault.then()
                return _hang_up(request)
            if fault.status or fault.body is not None:
                fault.then()
                return _answer(fault)
        body = await request.read()
        headers = CIMultiDict({key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP})
        headers["Accept-Encoding"] = "identity"
        try:
            async with self._session.request(
                request.method, self._cluster.url + request.path_qs, headers=headers, data=body or None
            ) as upstream:
                if request.query.get("watch") == "true" and upstream.status == 200:
                    return await self._stream(request, upstream, faults)
                return await self._whole(request, upstream, faults)
        except (aiohttp.ClientError, OSError):
            return _hang_up(request)  # the API server is away, as it would be without us

    async def _whole(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, faults: list[Fault]
    ) -> web.StreamResponse:
        answer = await upstream.read()
        if request.method in WRITES and "dryRun" not in request.query and upstream.status < 400:
            self.writes.append(f"{request.method} {request.path}")
            self.on_write(len(self.writes))
        for fault in faults:
            fault.then()
        if any(fault.lose_answer for fault in faults):
            return _hang_up(request)
        if request.method == "GET":
            earlier = self._lists.setdefault(request.path_qs, [answer])
            if any(fault.stale for fault in faults) and len(earlier) == 1:
                earlier.append(answer)
                answer = earlier[0]
        return web.Response(status=upstream.status, body=answer, headers=_passed(upstream))

    async def _stream(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, faults: list[Fault]
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=200, headers=_passed(upstream))
        await response.prepare(request)
        self.watching += 1
        transport = request.transport
        assert transport is not None
        self._transports.add(transport)
        try:
            if any(fault.silent for fault in faults):
                await asyncio.sleep(3600)
            if any(fault.shuffle for fault in faults):
                await _shuffle(upstream, response)
                return response
            async for line in upstream.content:
                if any(fault.truncate for fault in faults):
                    await response.write(line[: len(line) // 2])
                    return _hang_up(request, response)
                if any(fault.deaf for fault in faults):
                    continue
                if any(fault.rewind for fault in faults):
                    old = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1"}}}
                    await response.write(json.dumps(old).encode() + b"\n")
                    faults = []
                    continue
                if any(fault.expire for fault in faults):
                    await response.write(json.dumps({"type": "ERROR", "object": _status(410, "too old")}).encode())
                    await response.write(b"\n")
                    return response
                await response.write(line)
            return response
        except (ConnectionError, aiohttp.ClientError):
            return response
        finally:
            self.watching -= 1
            self._transports.discard(transport)


async def _shuffle(upstream: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    """Pass events on twice, and those of 50 ms in another order; those of one object keep theirs, as in reality."""
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        async for line in upstream.content:
            lines.put_nowait(line)

    reading = asyncio.create_task(read())
    try:
        while not reading.done() or not lines.empty():
            await asyncio.sleep(0.05)
            batch = [lines.get_nowait() for _ in range(lines.qsize())]
            order = {key: random.random() for key in map(_object, batch)}
            for line in sorted(batch, key=lambda line: order[_object(line)]):
                await response.write(line + line)
    finally:
        reading.cancel()


def _answer(fault: Fault) -> web.Response:
    status = fault.status or 200
    headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
    body = fault.body if fault.body is not None else json.dumps(_status(status, "injected")).encode()
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def _hang_up(request: web.BaseRequest, response: web.StreamResponse | None = None) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


def _passed(upstream: aiohttp.ClientResponse) -> CIMultiDict[str]:
    return CIMultiDict({key: value for key, value in upstream.headers.items() if key.lower() not in HOP_BY_HOP})


def _object(line: bytes) -> str:
    try:
        return str(json.loads(line)["object"]["metadata"].get("uid"))
    except (ValueError, KeyError):
        return ""
