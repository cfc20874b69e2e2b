"""The way to Temporal, on the dev server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from localcluster.temporal import TemporalServer
from runtime import contacts
from runtime.connect import Temporal
from runtime.settings import WorkerSettings
from runtime.telemetry import SdkTelemetry


async def test_what_temporal_refuses_while_it_starts_is_tried_again_and_told_once(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    tries = []

    async def prepare(client: Client) -> None:
        tries.append(client.namespace)
        if len(tries) < 4:
            raise RPCError("the history service is not there yet", RPCStatusCode.UNAVAILABLE, b"")

    with capture_logs() as lines:
        connection = Temporal(SdkTelemetry().runtime, WorkerSettings())
        await connection.connect(prepare)
    assert tries == ["default"] * 4 and connection.client.namespace == "default" and connection.listed
    events = [line["event"] for line in lines]
    assert events.count("waiting for Temporal") == 1 and events[-1] == "connected to Temporal"


async def test_it_is_known_to_answer_as_soon_as_it_is_connected(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    connection = Temporal(SdkTelemetry().runtime, WorkerSettings())
    following = asyncio.create_task(connection.contact.follow())
    await asyncio.sleep(0)  # it is asked once, in vain
    assert "not connected yet" in connection.contact.trouble
    await connection.connect()
    assert not connection.contact.trouble
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _field(name: bytes, value: bytes) -> bytes:
    """One header field as a literal (RFC 7541, 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


@contextlib.asynccontextmanager
async def refusing(status: RPCStatusCode) -> AsyncIterator[str]:
    """The address of a gRPC service that answers every call with this status."""
    fields = (b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % status), (b"grpc-message", b"not for you")
    answer = b"\x88" + b"".join(_field(*each) for each in fields)  # 0x88: `:status: 200`

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(24)  # the client's preface
            writer.write(_frame(4, 0, 0))
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3]))
                if head[3] == 4 and not head[4]:  # SETTINGS
                    writer.write(_frame(4, 1, 0))
                if head[3] == 1:  # HEADERS: a call
                    writer.write(_frame(1, 5, int.from_bytes(head[5:]), answer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
    finally:
        server.close()  # who is connected goes on: the client closes


@pytest.mark.parametrize("status", [RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED])
async def test_a_service_that_does_not_take_us_at_the_first_connect_is_a_refusal(
    monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode
) -> None:
    monkeypatch.setattr(contacts, "REFUSED_FOR", -1.0)
    async with refusing(status) as address:
        monkeypatch.setenv("TEMPORAL_ADDRESS", address)
        connection = Temporal(SdkTelemetry().runtime, WorkerSettings())
        contact = connection.contact
        connecting = asyncio.create_task(connection.connect())
        try:
            async with asyncio.timeout(20):
                while "not for you" not in contact.trouble:
                    await asyncio.sleep(0.1)
                    await contact.look()
            assert contact.refused_for_long
        finally:
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await connecting
