"""An API server that takes requests and never answers holds nobody up for long: another worker may hear it."""

import asyncio

import pytest
from kubernetes.aio import client as aio_client

from kube import transport
from kube.connections import Connections
from kube.credentials import access_with
from kube.errors import Away
from kube.request import Request
from kube.resources import SERVICE_INSTANCES
from kube.transport import Transport


async def test_a_request_that_got_no_answer_is_sent_again_only_once_the_server_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "REACH_SECONDS", 0.3)
    asked: list[str] = []
    open_ones: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ", 2)[1].decode())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    configuration = aio_client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    silent = Transport(Connections(access_with(configuration)))
    try:
        with pytest.raises(Away):
            await silent.ask(Request("list", SERVICE_INSTANCES, "GET", "/things", seconds=0.5))
        assert asked == ["/things", "/readyz"]
    finally:
        await silent.connections.close()
        for writer in open_ones:
            writer.close()
        server.close()
