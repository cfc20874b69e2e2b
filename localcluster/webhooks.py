"""The way from the API server to webhooks: through a proxy, which answers for the operand until one is started.

Pods are faked, and most of what is run here has no process behind them. So the calls that the API server makes to the
operand's webhooks are answered here, with the certificate that the manager made. Once an operand was started they
reach that process, and fail if it has died.
"""

import asyncio
import base64
import contextlib
import shutil
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from localcluster.processes import free_port
from localcluster.started import ThreadedServer
from models.names import PREVENT_DELETION_ANNOTATION


class WebhookRoute(ThreadedServer):
    """An HTTP proxy that knows CONNECT only (apiserver.k8s.io/v1beta1 EgressSelectorConfiguration)."""

    def __init__(self, certificate: Callable[[], dict[str, str] | None]) -> None:
        """Args:
        certificate: data of Secret webhook-server-cert; None if there is none.
        """
        super().__init__("webhook-route")
        self.operand_port = free_port()
        """Where the operand of this cluster listens: several clusters share the address that their pods have."""
        self._has_operand = False
        self.serve: dict[str, str] | None = None
        """Data of a Secret to serve with instead, as an operand does that has not seen a new certificate yet."""
        self._certificate = certificate
        self._folder = tempfile.mkdtemp(prefix="webhooks-")  # a checkout's path may be too long for a socket's name
        self._socket = f"{self._folder}/socket"
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tasks: set[asyncio.Task[None]] = set()

    def lead_to_operand(self, yes: bool = True) -> None:
        """From now on calls reach the operand's process, if it lives; or not any more. Open connections are ended."""
        self._has_operand = yes
        self._loop.call_soon_threadsafe(self._drop)

    def _drop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def configuration(self) -> dict[str, Any]:
        """What the API server has to be told."""
        transport = {"uds": {"udsName": self._socket}}
        connection = {"proxyProtocol": "HTTPConnect", "transport": transport}
        return {
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": connection}],
        }

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_post("/{any:.*}", admit)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
        self._server = await asyncio.start_unix_server(self._connect, self._socket)

    async def _cleanup(self) -> None:
        self._server.close()
        self._drop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        expected = (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError)  # we end it ourselves
        with contextlib.closing(writer), contextlib.suppress(*expected):
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"CONNECT "):
                return
            try:
                there = await self._dial()
            except OSError as error:
                writer.write(f"HTTP/1.1 502 {type(error).__name__}\r\n\r\n".encode())
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._has_operand:
            return await asyncio.open_connection("127.0.0.1", self.operand_port)
        data = self.serve or await asyncio.to_thread(self._certificate)
        if data is None:
            raise ConnectionRefusedError
        _load(self._tls, data)
        return await asyncio.open_connection("127.0.0.1", self.port)


async def admit(request: web.Request) -> web.Response:
    """Both webhooks: everything passes, but a deletion that the annotation forbids."""
    review = await request.json()
    asked = review["request"]
    response: dict[str, Any] = {"uid": asked["uid"], "allowed": True}
    meta = (asked.get("oldObject") or {}).get("metadata") or {}
    annotations = meta.get("annotations") or {}
    if asked["operation"] == "DELETE" and annotations.get(PREVENT_DELETION_ANNOTATION, "").lower() == "true":
        text = f"service instance '{meta['name']}' is marked with \"prevent deletion\""
        response |= {"allowed": False, "status": {"code": 403, "message": text}}
    return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response})


def serving(data: dict[str, str]) -> ssl.SSLContext:
    """What a webhook server needs to serve with the certificate in that Secret's data."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, data)
    return context


def _load(context: ssl.SSLContext, data: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("tls.crt", "tls.key"):
            Path(folder, name).write_bytes(base64.b64decode(data[name]))
        context.load_cert_chain(Path(folder, "tls.crt"), Path(folder, "tls.key"))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
