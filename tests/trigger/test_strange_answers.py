"""Whatever answers in the API server's place, a request ends with a value or a KubeError, after few tries."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client as aio_client

from kube import backoff, transport
from kube.answers import Object
from kube.client import Kube
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


async def with_stranger(check: Callable[[Kube, Stranger], Awaitable[None]]) -> None:
    stranger = Stranger()
    runner = web.ServerRunner(web.Server(stranger.handle))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    configuration = aio_client.Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    kube = Kube(Transport(access_with(configuration)))
    try:
        await check(kube, stranger)
    finally:
        await kube.close()
        await runner.cleanup()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSES", (0.0,) * len(PAUSES))
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.01)


def requests(kube: Kube) -> list[Callable[[], Awaitable[Any]]]:
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

    @settings(max_examples=150)
    @given(st.tuples(STATUSES, WAITS, BODIES))
    def check(answer: Answer) -> None:
        async def ask(kube: Kube, stranger: Stranger) -> None:
            nonlocal answered, refused
            stranger.answer = answer
            for request in requests(kube):
                stranger.requests = 0
                try:
                    async with asyncio.timeout(5):
                        await request()
                    answered += 1
                except KubeError as error:
                    refused += 1
                    assert str(error) and (error.retry_after or 0) <= 300
                assert stranger.requests <= len(PAUSES) + 1

        asyncio.run(with_stranger(ask))

    check()
    assert answered and refused


def test_a_watcher_survives_whatever_it_is_told_and_asks_at_a_bounded_rate(no_pauses: None) -> None:
    @settings(max_examples=60)
    @given(st.tuples(STATUSES, st.just(""), BODIES))
    def check(answer: Answer) -> None:
        async def follow(kube: Kube, stranger: Stranger) -> None:
            stranger.answer = answer
            for digest in (OperatorDigest.of, PresenceDigest.of, ChartDigest.of):
                following = Reflector(kube, Source(BTP_OPERATORS, digest))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        async for _ in following.changes():
                            pass
            # 0.15 s at one round each 5 to 10 ms, and a round is a list with its tries, or a list and a watch.
            assert stranger.requests <= 30 * (len(PAUSES) + 2)

        asyncio.run(with_stranger(follow))

    check()
