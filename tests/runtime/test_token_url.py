"""Who answers at the token URL is verified as the operand would, without being sent anything."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from operand.token_url import Trust, look
from tests.runtime.authority import Authority, server_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "private")


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on this machine: its URL, and what it was sent."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard.append(await reader.read())
        except OSError:
            pass  # whoever called hung up, as the look does
        finally:
            writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/oauth", heard


async def test_a_certificate_of_a_ca_that_the_operand_was_given_is_trusted(authority: Authority) -> None:
    async with serving(server_context(authority.issue("server"))) as (url, heard):
        assert await look(url, [authority.file.read_text()], any_address=True) == (Trust.TRUSTED, "")
        trust, why = await look(url, [], any_address=True)
        assert trust is Trust.NOT_TRUSTED and "issuer certificate" in why and "127.0.0.1" not in why
    assert b"".join(heard) == b""


@pytest.mark.parametrize(
    ("issue", "says"),
    [
        (lambda authority: authority.issue("server", days=-1), "certificate has expired"),
        (lambda authority: authority.issue("server", address="127.0.0.2"), "mismatch"),
    ],
    ids=["expired", "of another host"],
)
async def test_what_is_wrong_with_a_certificate_is_said_without_the_host(
    authority: Authority, issue: Callable[[Authority], Path], says: str
) -> None:
    async with serving(server_context(issue(authority))) as (url, _):
        trust, why = await look(url, [authority.file.read_text()], any_address=True)
        assert trust is Trust.NOT_TRUSTED and says in why and "127.0.0" not in why


async def test_where_nobody_answers_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
        assert await look(url, [], any_address=True) == (Trust.UNKNOWN, "")
        closed.listen()  # takes connections, and never says a word
        monkeypatch.setattr("operand.token_url.SECONDS", 0.2)
        assert await look(url, [], any_address=True) == (Trust.UNKNOWN, "")


async def test_without_any_roots_nobody_is_accused(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    async with serving(server_context(authority.issue("server"))) as (url, _):
        assert await look(url, [], any_address=True) == (Trust.UNKNOWN, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.96.0.1"])
async def test_addresses_inside_of_the_cluster_are_not_called(authority: Authority, host: str) -> None:
    async with serving(server_context(authority.issue("server"))) as (url, heard):
        assert await look(url.replace("127.0.0.1", host), []) == (Trust.UNKNOWN, "")
        assert await look(url.replace("https", "http"), [], any_address=True) == (Trust.UNKNOWN, "")
    assert heard == []


async def test_a_name_that_leads_into_the_cluster_is_not_called(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(host: str, port: int, *options: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with serving(server_context(authority.issue("server"))) as (url, heard):
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert await look(url.replace("127.0.0.1", "tokens.example.com"), []) == (Trust.UNKNOWN, "")
    assert asked == ["tokens.example.com"] and heard == []
