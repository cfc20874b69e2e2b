"""A request that rests on a look at the cluster is asked about each time it is about to be sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from kubernetes.aio import client as aio_client

from kube import transport
from kube.client import Kube
from kube.connections import Connections
from kube.credentials import access_with
from kube.errors import Stale, Unavailable
from kube.resources import SERVICE_INSTANCES
from kube.transport import Transport
from tests.conftest import Eventually

EMPTY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{"kind":"Status","items":[]}'


@asynccontextmanager
async def breaking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Kube, list[str]]]:
    """A server that answers lists and closes the connection on every deletion, as one does that is being ended."""
    monkeypatch.setattr(transport, "PAUSES", ())
    seen: list[str] = []
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method = head.split(b" ", 1)[0].decode()
                seen.append(method)
                if method == "DELETE":
                    break
                writer.write(EMPTY)
                await writer.drain()
        except asyncio.IncompleteReadError:
            seen.append("closed by the client")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    configuration = aio_client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    kube = Kube(Transport(Connections(access_with(configuration))))
    try:
        await kube.list(SERVICE_INSTANCES)  # leaves a connection that is kept
        yield kube, seen
    finally:
        await kube.close()
        for writer in open_ones:
            writer.close()
        server.close()
        await server.wait_closed()


async def test_a_deletion_whose_connection_breaks_is_sent_again_only_while_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with breaking(monkeypatch) as (kube, seen):
        answers = iter([True, True, False])  # when it is sent again, the look that it rests on has grown old
        with pytest.raises(Stale):
            await kube.delete_collection(SERVICE_INSTANCES, "a", allowed=lambda: next(answers))
        assert seen.count("DELETE") == 1


async def test_a_deletion_that_is_not_allowed_is_not_sent_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with breaking(monkeypatch) as (kube, seen):
        with pytest.raises(Stale):
            await kube.delete(SERVICE_INSTANCES, "i", "a", uid="1", allowed=lambda: False)
        assert "DELETE" not in seen


@pytest.mark.parametrize("kept", [True, False], ids=["a kept connection", "a new connection"])
async def test_the_connection_of_a_request_that_is_not_sent_does_not_stay_open(
    monkeypatch: pytest.MonkeyPatch, eventually: Eventually, kept: bool
) -> None:
    async def closed() -> bool:
        return "closed by the client" in seen

    async with breaking(monkeypatch) as (kube, seen):
        if not kept:  # the server ends the one that was kept
            with pytest.raises(Unavailable):
                await kube.delete_collection(SERVICE_INSTANCES, "a", allowed=lambda: True)
        assert not await closed()
        answers = iter([True, False])
        with pytest.raises(Stale):
            await kube.delete(SERVICE_INSTANCES, "i", "a", uid="1", allowed=lambda: next(answers))
        await eventually(closed)


async def test_one_that_stays_allowed_meets_what_any_request_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    async with breaking(monkeypatch) as (kube, seen):
        with pytest.raises(Unavailable):
            await kube.delete_collection(SERVICE_INSTANCES, "a", allowed=lambda: True)
        assert seen.count("DELETE") == 2  # the library's own second sending, on a new connection
