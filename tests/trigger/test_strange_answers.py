"""Whatever answers in the API server's place, a request ends with a value or a KubeError, after few tries."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client as aio_client

from kube import backoff, transport
from kube.answers import Object
from kube.client import Kube
from kube.connections import Connections
from kube.credentials import access_with
from kube.errors import KubeError
from kube.reflector import Reflector, Source
from kube.resources import BTP_OPERATORS, SECRETS
from kube.transport import PAUSES, Transport
from trigger.digests import ChartDigest, OperatorDigest, PresenceDigest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
META = st.dictionaries(
    st.sampled_from(["name", "namespace", "uid", "resourceVersion", "continue", "remainingItemCount"]), JSON, max_size=4
)
OBJECTS = st.fixed_dictionaries({}, optional={"metadata": META | JSON, "items": JSON, "code": JSON, "message": JSON})
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["ADDED", "DELETED", "BOOKMARK", "ERROR", "?"]), "object": OBJECTS}
)
BODIES = st.binary(max_size=20) | (JSON | OBJECTS | EVENTS | st.fixed_dictionaries({"items": st.lists(OBJECTS)})).map(
    lambda value: json.dumps(value).encode()
)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 409, 410, 418, 422, 429, 500, 503, 599])
WAITS = st.sampled_from(["", "0", "-1", "nan", "inf", "1e400", "soon", "99999"])
Answer = tuple[int, str, bytes]
Request = Callable[[], Awaitable[Any]]
Check = Callable[[Kube, "Stranger", Request], Coroutine[Any, Any, None]]


class Stranger:
    """An HTTP server that says the same to everybody."""

    def __init__(self) -> None:
        self.answer: Answer = (200, "", b"")
        self.requests = 0

    async def handle(self, _: web.Request) -> web.Response:
        self.requests += 1
        status, wait, body = self.answer
        headers = {"Content-Type": "application/json", **({"Retry-After": wait} if wait else {})}
        return web.Response(status=status, body=body, headers=headers)


async def open_both(stranger: Stranger) -> tuple[web.ServerRunner, Kube]:
    server = web.ServerRunner(web.Server(stranger.handle))  # type: ignore[arg-type]
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    configuration = aio_client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.addresses[0][1]}"
    return server, Kube(Transport(Connections(access_with(configuration))))


def for_every_answer(answers: st.SearchStrategy[Answer], most: int, check: Check) -> None:
    """One server and one client for all examples: they take longer to make than an answer."""
    stranger = Stranger()
    with asyncio.Runner() as runner:
        server, kube = runner.run(open_both(stranger))

        @settings(max_examples=most)
        @given(answers, st.sampled_from(requests(kube)))
        def each(answer: Answer, request: Request) -> None:
            stranger.answer, stranger.requests = answer, 0
            runner.run(check(kube, stranger, request))

        try:
            each()
        finally:
            runner.run(kube.close())
            runner.run(server.cleanup())


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES", (0.0,) * len(PAUSES))
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.01)


def requests(kube: Kube) -> list[Request]:
    obj: Object = {"metadata": {"name": "a", "namespace": "b"}}
    return [
        lambda: kube.find(SECRETS, "a", "b"),
        lambda: kube.list(BTP_OPERATORS),
        lambda: kube.first_page(BTP_OPERATORS, 3),
        lambda: kube.apply(SECRETS, obj),
        lambda: kube.create(SECRETS, obj),
        lambda: kube.merge(SECRETS, "a", "b", {}),
        lambda: kube.json_patch(SECRETS, "a", "b", []),
        lambda: kube.delete(SECRETS, "a", "b"),
        lambda: kube.delete_collection(SECRETS, "b"),
    ]


def test_every_request_ends_with_a_value_or_a_known_error_after_few_tries(no_pauses: None) -> None:
    answered = refused = 0

    async def ask(_: Kube, stranger: Stranger, request: Request) -> None:
        nonlocal answered, refused
        try:
            async with asyncio.timeout(5):
                await request()
            answered += 1
        except KubeError as error:
            refused += 1
            assert str(error) and (error.retry_after or 0) <= 300
        assert stranger.requests <= len(PAUSES) + 1

    for_every_answer(st.tuples(STATUSES, WAITS, BODIES), 400, ask)
    assert answered and refused


def test_a_watcher_survives_whatever_it_is_told_and_asks_at_a_bounded_rate(no_pauses: None) -> None:
    async def follow(kube: Kube, stranger: Stranger, _: Request) -> None:
        async def one(digest: Any) -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    async for _ in Reflector(kube, Source(BTP_OPERATORS, digest)).changes():
                        pass

        await asyncio.gather(*(one(digest) for digest in (OperatorDigest.of, PresenceDigest.of, ChartDigest.of)))
        # 0.05 s for each at one round each 5 to 10 ms, and a round is a list with its tries, or a list and a watch.
        assert stranger.requests <= 30 * (len(PAUSES) + 2)

    for_every_answer(st.tuples(STATUSES, st.just(""), BODIES), 60, follow)
