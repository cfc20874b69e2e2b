"""Encrypted payloads can be read in Temporal's UI and command line, by those whom Temporal lets read the namespace.

On Temporal's own server with its default authorizer, which believes tokens that a key server's key has signed.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf.json_format import MessageToDict
from pydantic import SecretStr
from temporalio import workflow
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.converter import WorkflowSerializationContext
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from localcluster.postgresql import PostgreSQL, programs
from localcluster.processes import Process, free_port, listens, wait_until
from localcluster.temporal import CLI, NAMESPACE, TemporalOnPostgreSQL, TemporalServer
from runtime.connect import data_converter
from runtime.settings import WorkerSettings

KEY: Final = base64.b64encode(os.urandom(32)).decode()
pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        programs() is None, reason="PostgreSQL is not installed (the distribution's package postgresql)"
    ),
]
ORIGIN: Final = "https://temporal.example.com"


@workflow.defn
class EchoWorkflow:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


class KeyServer:
    """Signs tokens as an identity provider does (RS256), and serves the key that Temporal verifies them with."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.port = free_port()

    def token(self, *permissions: str) -> str:
        """A token with permissions such as default:read."""
        head = {"alg": "RS256", "kid": "one", "typ": "JWT"}
        claims = {"sub": "somebody", "permissions": permissions, "exp": 4102444800}
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return (signed + b"." + _base64(signature)).decode()

    def keys(self) -> dict[str, Any]:
        """RFC 7517."""
        public = self._key.public_key().public_numbers()
        n, e = (_base64(each.to_bytes((each.bit_length() + 7) // 8, "big")).decode() for each in (public.n, public.e))
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "one", "n": n, "e": e}]}


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@pytest.fixture(scope="module")
def key_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServer]:
    """Its page is a file, which another process serves."""
    server = KeyServer()
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(json.dumps(server.keys()))
    process = Process("keys", [sys.executable, "-m", "http.server", "-d", folder, str(server.port)], folder)
    yield server
    process.stop()


@pytest.fixture(scope="module")
def temporal(key_server: KeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalOnPostgreSQL]:
    with PostgreSQL() as database:
        server = TemporalOnPostgreSQL(
            tmp_path_factory.mktemp("temporal"),
            database,
            keys=f"http://127.0.0.1:{key_server.port}/keys",
            administrator=key_server.token("temporal-system:admin", f"{NAMESPACE}:admin"),
        )
        server.set_up()
        yield server
        server.stop()


class CodecServer:
    """`python -m codecserver` as a process of its own."""

    def __init__(self, folder: Path, temporal: str, **settings: str) -> None:
        self.port, self.health, metrics = free_port(), free_port(), free_port()
        self.process = Process(
            "codecserver",
            [sys.executable, "-m", "codecserver"],
            folder,
            os.environ
            | {
                "TEMPORAL_ADDRESS": temporal,
                "BTP_PAYLOAD_KEY": KEY,
                "BTP_CODEC_ADDRESS": f"127.0.0.1:{self.port}",
                "BTP_HEALTH_ADDRESS": f"127.0.0.1:{self.health}",
                "BTP_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
                "BTP_CODEC_ORIGINS": ORIGIN,
                **settings,
            },
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def codec_server(temporal: TemporalOnPostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodecServer]:
    server = CodecServer(tmp_path_factory.mktemp("codec"), temporal.address)
    wait_until(lambda: listens(server.port), "the codec server to listen", server.process)
    yield server
    server.process.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


Decoded = tuple[int, dict[str, Any]]


async def decode(
    http: aiohttp.ClientSession, server: CodecServer, body: object, token: str = "", **headers: str
) -> Decoded:
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    async with http.post(f"{server.url}/decode", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def written(text: str, for_workflow: str = "one") -> dict[str, Any]:
    """A request's body with one payload, as a worker would have written it."""
    converter = data_converter(WorkerSettings(payload_key=SecretStr(KEY)), NAMESPACE)
    context = WorkflowSerializationContext(NAMESPACE, for_workflow)
    return MessageToDict(Payloads(payloads=await converter.with_context(context).encode([text])))


def text_of(answer: dict[str, Any]) -> Any:
    [payload] = answer["payloads"]
    return json.loads(base64.b64decode(payload["data"]))


async def test_the_command_line_shows_what_a_workflow_wrote_to_a_reader_of_the_namespace(
    temporal: TemporalOnPostgreSQL, codec_server: CodecServer, key_server: KeyServer
) -> None:
    converter = data_converter(WorkerSettings(payload_key=SecretStr(KEY)), NAMESPACE)
    writer = {"authorization": f"Bearer {key_server.token(f'{NAMESPACE}:write')}"}
    client = await Client.connect(temporal.address, data_converter=converter, rpc_metadata=writer)
    async with Worker(client, task_queue="echo", workflows=[EchoWorkflow], workflow_runner=UnsandboxedWorkflowRunner()):
        await client.execute_workflow(EchoWorkflow.run, "team-a/database", id="echo", task_queue="echo")
    token = f"Bearer {key_server.token(f'{NAMESPACE}:read')}"
    show: list[str | Path] = [CLI, "workflow", "result", "--workflow-id", "echo", "--address", temporal.address]
    show += ["--grpc-meta", f"authorization={token}"]
    assert "team-a" not in await asyncio.to_thread(output_of, show)
    show += ["--codec-endpoint", codec_server.url, "--codec-auth", token]
    assert "team-a/database" in await asyncio.to_thread(output_of, show)


def output_of(command: list[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


async def test_only_those_whom_temporal_lets_read_the_namespace_are_answered(
    codec_server: CodecServer, key_server: KeyServer, http: aiohttp.ClientSession
) -> None:
    body = await written("team-a/database")
    status, answer = await decode(http, codec_server, body, key_server.token(f"{NAMESPACE}:read"))
    assert (status, text_of(answer)) == (200, "team-a/database")
    for token, expected in (
        ("", 401),
        ("made-up", 403),
        (key_server.token("elsewhere:admin"), 403),
        (KeyServer().token(f"{NAMESPACE}:admin"), 403),
    ):
        status, answer = await decode(http, codec_server, body, token)
        assert status == expected, answer
        assert "payloads" not in answer and answer["message"]


async def test_what_cannot_be_read_says_why_and_hides_nothing_else(
    codec_server: CodecServer, key_server: KeyServer, http: aiohttp.ClientSession
) -> None:
    token = key_server.token(f"{NAMESPACE}:read")
    good, claimed, foreign = await written("good"), await written("moved"), await written("foreign")
    claimed["payloads"][0]["metadata"]["written-for"] = base64.b64encode(b"two").decode()
    foreign["payloads"][0]["metadata"]["key"] = base64.b64encode(b"0123").decode()
    plain = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(b"7").decode(),
    }
    payloads = [*good["payloads"], *claimed["payloads"], *foreign["payloads"], plain]
    status, answer = await decode(http, codec_server, {"payloads": payloads}, token)
    texts = [text_of({"payloads": [each]}) for each in answer["payloads"]]
    assert status == 200 and texts[0] == "good" and texts[3] == 7
    assert "was not written for workflow 'two'" in texts[1] and "with a key that is not" in texts[2]


@pytest.mark.parametrize("body", ["{", "[]", '{"payloads": 7}', "[" * 100_000, '{"payloads": [7]}', "7", ""])
async def test_a_body_that_makes_no_sense_is_refused_in_words(
    codec_server: CodecServer, key_server: KeyServer, http: aiohttp.ClientSession, body: str
) -> None:
    headers = {"Authorization": f"Bearer {key_server.token(f'{NAMESPACE}:read')}"}
    async with http.post(f"{codec_server.url}/decode", data=body, headers=headers) as answer:
        assert answer.status == 400 and "payloads" in (await answer.json())["message"]


async def test_another_namespace_and_writing_are_refused_in_words(
    codec_server: CodecServer, key_server: KeyServer, http: aiohttp.ClientSession
) -> None:
    token = key_server.token(f"{NAMESPACE}:read")
    status, answer = await decode(http, codec_server, await written("a"), token, **{"X-Namespace": "elsewhere"})
    assert status == 404 and "not elsewhere" in answer["message"]
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(f"{codec_server.url}/encode", json={}, headers=headers) as refused:
        assert refused.status == 501 and "btpctl" in (await refused.json())["message"]


async def test_a_browser_lets_only_the_page_of_the_ui_call(
    codec_server: CodecServer, http: aiohttp.ClientSession
) -> None:
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example.com", None)):
        async with http.options(f"{codec_server.url}/decode", headers={"Origin": origin}) as answer:
            assert answer.headers.get("Access-Control-Allow-Origin") == allowed
            assert ("authorization" in answer.headers.get("Access-Control-Allow-Headers", "")) is bool(allowed)
        async with http.post(f"{codec_server.url}/decode", headers={"Origin": origin}) as answer:
            assert answer.status == 401 and answer.headers.get("Access-Control-Allow-Origin") == allowed


async def test_nobody_is_answered_where_temporal_answers_anybody_or_is_away(
    tmp_path: Path, http: aiohttp.ClientSession, key_server: KeyServer
) -> None:
    server = TemporalServer(tmp_path, ui=False)
    codec_server = CodecServer(tmp_path, server.address)
    try:
        await asyncio.to_thread(wait_until, lambda: listens(codec_server.port), "it to listen", codec_server.process)
        body, token = await written("a"), key_server.token(f"{NAMESPACE}:read")
        status, answer = await decode(http, codec_server, body, token)
        assert status == 503 and "try again" in answer["message"]
        async with http.get(f"http://127.0.0.1:{codec_server.health}/readyz") as ready:
            assert ready.status == 503 and server.address in await ready.text()
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(60):
            while status == 503:
                status, answer = await decode(http, codec_server, body, token)
        assert status == 403 and "configure its authorizer" in answer["message"]
    finally:
        codec_server.process.stop()
        server.stop()


def test_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    server = CodecServer(tmp_path, "127.0.0.1:1", BTP_PAYLOAD_KEY="")
    assert server.process.wait() == 2
    assert "BTP_PAYLOAD_KEY: empty" in server.process.log.read_text()
