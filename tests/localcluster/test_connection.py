"""Connections that set-up and people keep to a server: here one that speaks plain HTTP and counts who calls."""

import contextlib
import socket
import threading
import urllib.error
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localcluster.connection import Connection
from localcluster.processes import free_port


class Server(ThreadingHTTPServer):
    """Ends like a process that is killed: its connections end with it."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Answering)
        self.connections: list[socket.socket] = []

    def server_close(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):  # its caller was faster
                connection.shutdown(socket.SHUT_RDWR)
        super().server_close()


class Answering(BaseHTTPRequestHandler):
    """Answers with the path, and refuses what asks for that."""

    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.request)

    def do_GET(self) -> None:
        body = self.path.encode()
        self.send_response(404 if self.path == "/absent" else 307 if self.path == "/elsewhere" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/away")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(port: int) -> Iterator[Server]:
    with Server(port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def connection(port: int, tmp_path: Path) -> Iterator[Connection]:
    connection = Connection(f"http://127.0.0.1:{port}", tmp_path / "not-needed.crt")
    yield connection
    connection.close()


def test_many_requests_share_one_connection(port: int, connection: Connection) -> None:
    with serving(port) as server:
        for number in range(20):
            assert connection.request("GET", f"/{number}", None, {}) == f"/{number}".encode()
        assert len(server.connections) == 1


def test_a_refusal_has_its_status_and_text_and_a_redirect_is_one(port: int, connection: Connection) -> None:
    with serving(port):
        for path, status in (("/absent", 404), ("/elsewhere", 307)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                connection.request("GET", path, None, {})
            assert (refused.value.code, refused.value.read()) == (status, path.encode())


def test_a_server_that_is_away_is_an_error_and_is_reached_again_after_its_return(
    port: int, connection: Connection
) -> None:
    for _ in range(2):
        with serving(port):
            assert connection.request("GET", "/there", None, {}) == b"/there"
        with pytest.raises(urllib.error.URLError):
            connection.request("GET", "/away", None, {})
