"""What `btpctl` says of a workflow that cannot answer it, by Temporal's own word. Against real servers."""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest
import structlog
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from btpctl.__main__ import main
from dispatch.names import workflow_id
from localcluster.temporal import TemporalServer
from models.deletion_record import HoldRequest
from models.mandate import Mandate
from models.status import ProgressReport
from runtime.connect import data_converter
from runtime.settings import WorkerSettings


@workflow.defn(name="Stranger")
class Stranger:
    """Somebody's, under a CR's id: it knows no question of ours."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="DeprovisionWorkflow")
class Broken:
    """Its code fails at every workflow task."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a defect")


@workflow.defn(name="DeprovisionWorkflow")
class Deletion:
    """One that answers."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def progress(self) -> ProgressReport:
        return ProgressReport(message="1 ServiceInstance left")

    @workflow.update
    async def retry_now(self) -> str:
        return "1 ServiceInstance left"

    @workflow.update
    async def hold(self, request: HoldRequest) -> str:
        return f"held by {request.by}"


Running = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def running(
    deletion: Mandate,
    task_queue: str,
    temporal: Client,
    temporal_server: TemporalServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Running:
    """A workflow under the id of a CR that is being deleted, and a worker with or without a payload key for it."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    monkeypatch.setenv("BTP_TASK_QUEUE", task_queue)

    @asynccontextmanager
    async def run(kind: type, name: str, key: str = "") -> AsyncIterator[None]:
        converter = data_converter(WorkerSettings(payload_key=key))
        client = await Client.connect(temporal_server.address, data_converter=converter)
        handle = await client.start_workflow(name, id=workflow_id(deletion, task_queue), task_queue=task_queue)
        async with Worker(client, task_queue=task_queue, workflows=[kind], workflow_runner=UnsandboxedWorkflowRunner()):
            yield
            await handle.terminate()

    return run


@dataclass
class Ran:
    """What a command said."""

    status: int
    out: str
    err: str


BtpCtl = Callable[..., "asyncio.Future[Ran]"]


@pytest.fixture
def btpctl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> BtpCtl:
    """Runs a command as a person does, in a thread of its own, since it has a loop of its own."""

    async def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["btpctl", *arguments, "--timeout", "5"])
        logs = structlog.get_config()
        status = await asyncio.to_thread(main)
        structlog.configure(**logs)
        return Ran(status, *capsys.readouterr())

    return lambda *arguments: asyncio.ensure_future(run(*arguments))


async def test_a_strangers_workflow_under_the_crs_id_is_named_and_the_rest_is_shown(
    running: Running, btpctl: BtpCtl
) -> None:
    async with running(Stranger, "Stranger"):
        told = await btpctl("status")
        assert told.status == 2 and "runs: Stranger" in told.out, told.err
        assert "not known: the workflow cannot answer: " in told.out and "progress" in told.out
        assert "`btpctl doctor`" in told.err
        refused = await btpctl("retry")
        assert refused.status == 2 and "retry_now" in refused.err and len(refused.err.strip().splitlines()) == 1


@pytest.mark.long
async def test_a_workflow_whose_code_fails_is_told_as_one(running: Running, btpctl: BtpCtl) -> None:
    async with running(Broken, "DeprovisionWorkflow"):
        told = await btpctl("status")
        assert told.status in (2, 3) and "runs: DeprovisionWorkflow" in told.out, told.err
        assert "not known: " in told.out and len(told.err.strip().splitlines()) == 1, told.err
        refused = await btpctl("retry")
        assert refused.status in (2, 3) and len(refused.err.strip().splitlines()) == 1, refused.err
        assert "the workflow's code has failed " in (await btpctl("status")).out


async def test_whoever_lacks_the_payload_key_is_told_which_key_to_give(
    running: Running, btpctl: BtpCtl, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    async with running(Deletion, "DeprovisionWorkflow", key):
        for mine in ("", other):
            monkeypatch.setenv("BTP_PAYLOAD_KEY", mine)
            told = await btpctl("status")
            assert told.status == 2 and "not known: " in told.out and "BTP_PAYLOAD_KEY" in told.out, told.err
            done = await btpctl("retry")
            assert done.status == 2 and "BTP_PAYLOAD_KEY" in done.err and "it was done" in done.err, done.err
            refused = await btpctl("hold", "--by", "alice", "--why", "ticket")
            assert refused.status == 2 and "BTP_PAYLOAD_KEY" in refused.err, refused.err
        monkeypatch.setenv("BTP_PAYLOAD_KEY", key)
        assert "waits for: 1 ServiceInstance left" in (await btpctl("status")).out
        assert "asked again; 1 ServiceInstance left" in (await btpctl("retry")).out
