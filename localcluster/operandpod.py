"""The stand-in for the operand as a container's command: `python -m localcluster.operandpod`.

It has the probes that the chart asks, and is given the real operand's arguments, which it ignores.
"""

import asyncio
import contextlib
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from kube.client import Kube
from localcluster.operand import LARGEST_REVIEW, WEBHOOK_PORT, Operand
from localcluster.webhooks import admit

PROBES: Final = 8081
CERTIFICATE: Final = Path("/tmp/k8s-webhook-server/serving-certs")  # noqa: S108
"""Where the chart mounts it."""


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[None]:
    """Answer the probes, and the webhooks with the mounted certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE / "tls.crt", CERTIFICATE / "tls.key")
    app = web.Application(client_max_size=LARGEST_REVIEW)
    for path in ("/healthz", "/readyz"):
        app.router.add_get(path, _well)
    app.router.add_post("/{any:.*}", admit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", PROBES).start()
        await web.TCPSite(runner, "0.0.0.0", WEBHOOK_PORT, ssl_context=tls).start()
        yield
    finally:
        await runner.cleanup()


async def _well(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def main() -> None:
    """Act until SIGTERM."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    kube = await Kube.from_environment()
    async with aiohttp.ClientSession() as http, served():
        await Operand(kube, http, at_once=1).run()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main())
