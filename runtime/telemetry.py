"""Temporal's SDK as part of this process: its metrics on our page, its log no louder than ours.

The SDK's core is written in Rust and serves its metrics on a port of its own. That port is bound to the loopback
address, and /metrics hands on what it says.
"""

import re
import socket
from collections import Counter
from dataclasses import dataclass
from typing import Final

import aiohttp
from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

TRIES: Final = 5
LONG_REQUEST: Final = re.compile(r"^temporal_long_request(_latency_count|_failure|)\{[^}]*\} (\d+)", re.MULTILINE)
BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1200.0, 1800.0)
"""Seconds: from a Ready within one to a deletion that took its whole budget."""
PATIENCE: Final = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True)
class PollCounts:
    """What became of this process's polls so far. An empty answer is an answer."""

    sent: int
    answered: int
    failed: int

    @property
    def open(self) -> int:
        return self.sent - self.answered - self.failed


class SdkTelemetry:
    """The SDK's runtime and where its metrics are."""

    def __init__(self) -> None:
        # While Temporal is away the core says so at each of its retries; the state is ours to report, in one line.
        logging = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
        for left in reversed(range(TRIES)):
            address = f"127.0.0.1:{_free_port()}"
            metrics = PrometheusConfig(
                bind_address=address,
                durations_as_seconds=True,
                histogram_bucket_overrides={"btp_reconcile_duration_seconds": BUCKETS},
            )
            try:
                self.runtime = Runtime(telemetry=TelemetryConfig(logging=logging, metrics=metrics))
            except (RuntimeError, ValueError):  # somebody took the port in between
                if not left:
                    raise
                continue
            self._url = f"http://{address}/metrics"
            return

    async def metrics(self) -> bytes:
        """The SDK's metrics in Prometheus' text format; nothing if the core does not answer."""
        try:
            async with aiohttp.ClientSession(timeout=PATIENCE) as session, session.get(self._url) as answer:
                return await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return b""

    async def polls(self) -> PollCounts:
        """By the core's own counters of long requests, which are its polls."""
        counts = Counter[str]()
        for kind, value in LONG_REQUEST.findall((await self.metrics()).decode()):
            counts[kind] += int(value)
        failed = counts["_failure"]
        return PollCounts(sent=counts[""], answered=counts["_latency_count"] - failed, failed=failed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
