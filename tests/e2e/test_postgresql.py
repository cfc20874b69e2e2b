"""On the Temporal server as it runs in production, with its data in PostgreSQL: docs/temporal.md."""

import asyncio
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from localcluster.environment import Environment
from localcluster.postgresql import PostgreSQL, programs
from localcluster.servicemanager import ServiceManager
from localcluster.temporal import TemporalOnPostgreSQL
from models.deprovision import DeletionMode
from models.status import ProgressReport
from tests.e2e.deletion import Scene

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        programs() is None, reason="PostgreSQL is not installed (the distribution's package postgresql)"
    ),
]


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    with PostgreSQL() as started:
        yield started


@pytest.fixture(scope="module")
def temporal(database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalOnPostgreSQL]:
    server = TemporalOnPostgreSQL(Path(tmp_path_factory.mktemp("temporal")), database)
    server.set_up()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def scene(temporal: TemporalOnPostgreSQL) -> Iterator[Scene]:
    settings = {"BTP_HARD_DELETE_TIMEOUT": "4m"}
    with ServiceManager() as sap, Environment(settings, workers=3, triggers=2, temporal=temporal) as environment:
        yield Scene(environment, sap)


async def budget_ends(temporal: TemporalOnPostgreSQL) -> datetime | None:
    """What the one running deletion says of its budget."""
    client = await Client.connect(temporal.address, data_converter=pydantic_data_converter)
    async for run in client.list_workflows("WorkflowType = 'DeprovisionWorkflow' AND ExecutionStatus = 'Running'"):
        handle = client.get_workflow_handle(run.id, run_id=run.run_id)
        progress: ProgressReport = await handle.query("progress", result_type=ProgressReport)
        return progress.budget_ends
    return None


async def unsuccessful(scene: Scene) -> list[str]:
    client = await scene.settled()
    fine = (WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CONTINUED_AS_NEW)
    return [f"{run.id} {run.status}" async for run in client.list_workflows() if run.status not in fine]


def test_a_deletion_loses_nothing_when_temporal_and_its_database_are_killed(
    scene: Scene, temporal: TemporalOnPostgreSQL, database: PostgreSQL
) -> None:
    scene.ready()
    scene.make({"team-a": 2, "team-b": 2})
    assert scene.operand is not None and temporal.process is not None
    scene.operand.kill()
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: "soft delete follows in" in scene.message(), "the deletion to wait for the operand")
    ends = asyncio.run(budget_ends(temporal))
    assert ends is not None

    temporal.process.kill()
    time.sleep(2)
    temporal.start()
    database.kill()
    time.sleep(2)
    database.start()

    def answers() -> bool:
        try:
            return asyncio.run(budget_ends(temporal)) == ends  # the same budget, not a fresh one
        except (OSError, RuntimeError, RPCError):  # its database is not back yet
            return False

    scene.until(answers, "the deletion to go on in its budget", 60)
    assert scene.state() == "Deleting" and len(scene.person.service_objects()) == 8
    scene.operand = scene.environment.start_operand()
    scene.gone()
    scene.nothing_left()
    assert not scene.sap.instances and not scene.sap.bindings and not scene.reported()
    result = asyncio.run(scene.result())
    assert (result.mode, result.removed.bindings, result.removed.instances) == (DeletionMode.HARD, 4, 4)
    assert asyncio.run(unsuccessful(scene)) == []
