"""The way to Temporal, on the dev server."""

import pytest
from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from localcluster.temporal import TemporalServer
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
