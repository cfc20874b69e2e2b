"""A client certificate, a CA or an API key for Temporal that is renewed is used without a restart."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio import workflow
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from localcluster.processes import free_port
from localcluster.temporal import TemporalServer
from runtime import connect, contacts
from runtime.connect import Temporal, client_config
from runtime.settings import SettingsError, WorkerSettings
from runtime.telemetry import SdkTelemetry
from tests.runtime.authority import Authority, server_context


class Gate:
    """TLS before the dev server, for holders of a certificate of one CA. Sessions are not resumed, so each counts."""

    def __init__(self, server: str, port: int) -> None:
        self._server, self._port = server, port
        self._open: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self.entered = 0

    async def listen(self, certificate: Path, clients: Path) -> None:
        """From now on with these, and every connection of before is lost."""
        await self.close()
        context = server_context(certificate, clients)
        context.set_alpn_protocols(["h2"])
        context.num_tickets = 0
        self._listening = await asyncio.start_server(self._enter, "127.0.0.1", self._port, ssl=context)

    async def close(self) -> None:
        if self._listening:
            self._listening.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.entered += 1
        host, port = self._server.split(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._open |= {writer, back}
        await asyncio.gather(_pump(reader, back), _pump(there, writer))
        self._open -= {writer, back}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def gate(temporal_server: TemporalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    port = free_port()
    monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{port}")
    for name, file in (("SERVER_CA_CERT", "ca.crt"), ("CLIENT_CERT", "client.crt"), ("CLIENT_KEY", "client.crt")):
        monkeypatch.setenv(f"TEMPORAL_TLS_{name}_PATH", str(tmp_path / file))
    gate = Gate(temporal_server.address, port)
    yield gate
    await gate.close()


def install(folder: Path, authority: Authority, name: str, days: int = 1) -> None:
    """Put a client certificate and its CA where the settings say."""
    (folder / "ca.crt").write_bytes(authority.file.read_bytes())
    (folder / "client.crt").write_bytes(authority.issue(name, days=days).read_bytes())


@workflow.defn(sandboxed=False)
class Something:
    """Work for a worker."""

    @workflow.run
    async def run(self) -> str:
        return "done"


async def test_a_new_client_certificate_and_ca_are_used_by_everybody_and_a_worker_goes_on(
    gate: Gate, tmp_path: Path, task_queue: str
) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    install(tmp_path, old, "first")
    await gate.listen(old.issue("server"), old.file)
    temporal = Temporal(SdkTelemetry().runtime, WorkerSettings())
    await temporal.connect()
    contact = temporal.contact
    async with Worker(temporal.client, task_queue=task_queue, workflows=[Something]) as worker:
        temporal.tell(partial(setattr, worker, "client"))
        await contact.look()
        assert not contact.trouble
        assert await temporal.client.execute_workflow("Something", id=task_queue, task_queue=task_queue) == "done"
        first = temporal.client
        await contact.look()
        assert temporal.client is first
        await gate.listen(new.issue("server"), new.file)
        await contact.look()
        assert contact.trouble
        install(tmp_path, new, "second")
        await contact.look()
        assert not contact.trouble and temporal.client is not first
        async with asyncio.timeout(30):
            assert await temporal.client.execute_workflow("Something", id=task_queue, task_queue=task_queue) == "done"


async def test_a_certificate_that_ended_is_told_as_a_refusal_and_files_that_cannot_be_read_keep_the_old_one(
    gate: Gate, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "ca")
    install(tmp_path, authority, "first")
    await gate.listen(authority.issue("server"), authority.file)
    temporal = Temporal(SdkTelemetry().runtime, WorkerSettings())
    await temporal.connect()
    contact = temporal.contact
    (tmp_path / "client.crt").unlink()
    with capture_logs() as lines:
        await contact.look()
        await contact.look()
    assert not contact.trouble
    assert [line["event"] for line in lines].count("credentials for Temporal cannot be read again") == 1
    install(tmp_path, authority, "ended", days=-1)
    temporal._config = client_config(WorkerSettings())  # as if it had ended while in use
    await gate.close()
    await contact.look()
    assert "the client certificate ended at" in contact.trouble
    install(tmp_path, authority, "renewed")
    await gate.listen(authority.issue("server"), authority.file)
    await contact.look()
    assert not contact.trouble


async def test_a_refusal_is_one_until_the_namespace_takes_us_although_anybody_is_told_about_the_system(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    monkeypatch.setattr(contacts, "REFUSED_FOR", -1.0)
    monkeypatch.setattr(connect, "CONFIRMED_EVERY", 0.5)
    temporal = Temporal(SdkTelemetry().runtime, WorkerSettings())
    await temporal.connect()
    contact = temporal.contact
    await asyncio.sleep(connect.CONFIRMED_EVERY)  # it is time to ask what only somebody with rights is told

    async def refused(_: Any) -> None:
        raise RPCError("Request unauthorized.", RPCStatusCode.PERMISSION_DENIED, b"")

    with monkeypatch.context() as authorizer:
        authorizer.setattr(temporal.client.workflow_service, "describe_namespace", refused)
        for _ in range(3):
            await contact.look()
            assert "Request unauthorized." in contact.trouble and contact.refused_for_long
    await contact.look()
    assert not contact.trouble and not contact.refused_for_long


async def test_an_api_key_is_read_from_its_file_and_again_when_it_changes(
    temporal_server: TemporalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    monkeypatch.setenv("TEMPORAL_TLS", "false")
    monkeypatch.setenv("BTP_TEMPORAL_API_KEY_FILE", str(file))
    temporal = Temporal(SdkTelemetry().runtime, WorkerSettings())
    await temporal.connect()
    assert temporal.client.api_key == "first"
    contact = temporal.contact
    file.write_text("second")
    await contact.look()
    assert temporal.client.api_key == "second" and not contact.trouble


@pytest.mark.parametrize(("content", "says"), [("", "is empty"), (None, "cannot be read")])
def test_a_key_file_that_cannot_be_used_at_the_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, says: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("BTP_TEMPORAL_API_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match=f"BTP_TEMPORAL_API_KEY_FILE: .*{says}"):
        client_config(WorkerSettings())
