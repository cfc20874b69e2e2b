"""The HTTP pages of a process: /healthz and /readyz for probes, /metrics for Prometheus."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from kube.shared_look import SharedLook
from runtime.settings import SettingsError
from runtime.telemetry import SdkTelemetry

Check = Callable[[], str]
"""Returns what is wrong, or an empty string."""


@asynccontextmanager
async def pages(
    health_address: str, metrics_address: str, alive: Check, ready: Check, sdk: SdkTelemetry
) -> AsyncIterator[None]:
    """Serve the pages while the block runs.

    Raises:
        SettingsError: an address cannot be listened on.
    """
    health, metrics = web.Application(), web.Application()
    health.router.add_get("/healthz", _probe(alive))
    health.router.add_get("/readyz", _probe(ready))
    metrics.router.add_get("/metrics", _metrics(sdk))
    async with (
        listening(health, "BTP_HEALTH_ADDRESS", health_address),
        listening(metrics, "BTP_METRICS_ADDRESS", metrics_address),
    ):
        yield


@asynccontextmanager
async def listening(app: web.Application, setting: str, address: str) -> AsyncIterator[None]:
    """Serve an application while the block runs; nothing where the address is empty.

    Raises:
        SettingsError: the address, which came from that setting, cannot be listened on.
    """
    if not address:
        yield
        return
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    host, _, port = address.rpartition(":")
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, host or None, int(port)).start()
        except OSError as error:
            raise SettingsError(f"{setting}: cannot listen on {address}: {error.strerror or error}") from error
        yield
    finally:
        await runner.cleanup()


def _probe(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        trouble = check()
        return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)

    return answer


def _metrics(sdk: SdkTelemetry) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def read() -> bytes:
        return generate_latest() + await sdk.metrics()

    shared = SharedLook(read)  # whoever reaches the port cannot keep the process busy

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=await shared.look(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return answer
