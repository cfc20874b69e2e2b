"""Two clusters on one Temporal server, with CRs of the same name: docs/scale.md."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from temporalio.client import Client

from localcluster.client import CREDENTIALS
from localcluster.client import Client as Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.temporal import TemporalServer
from models.names import RESYNC_SCHEDULE

NAMES = ("cluster-a", "cluster-b")


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    server = TemporalServer(Path(tmp_path_factory.mktemp("temporal")), ui=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(temporal: TemporalServer) -> Iterator[list[Environment]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Environment({"BTP_TASK_QUEUE": name}, temporal=temporal)) for name in NAMES]


def ready(person: Person) -> bool:
    status = person.status("btpoperator")
    return status is not None and status.state == "Ready"


def test_clusters_share_a_temporal_namespace_and_never_meet(fleet: list[Environment], temporal: TemporalServer) -> None:
    people = [Person(environment.cluster) for environment in fleet]
    for person in people:
        person.put_secret(CREDENTIALS)
        person.create_operator("btpoperator")
    for person in people:
        wait_until(lambda person=person: ready(person), "the CR to be Ready")  # type: ignore[misc]
    first, second = people
    installed = second.managed_objects()
    first.delete_operator("btpoperator")
    wait_until(lambda: first.status("btpoperator") is None, "the first cluster's CR to be gone")
    assert first.managed_objects() == []
    assert ready(second) and second.managed_objects() == installed
    ids = asyncio.run(by_task_queue(temporal))
    assert set(ids) == set(NAMES)
    for name, workflows in ids.items():
        assert all(each.startswith(f"{name}/btpoperator/kyma-system/btpoperator/") for each in workflows)


async def by_task_queue(temporal: TemporalServer) -> dict[str, set[str]]:
    """Ids of all workflows of CRs; each cluster has a Schedule of its own besides."""
    client, found = await Client.connect(temporal.address), dict[str, set[str]]()
    for name in NAMES:
        assert (await client.get_schedule_handle(f"{name}/{RESYNC_SCHEDULE}").describe()).id
    async for run in client.list_workflows("WorkflowType != 'ResyncWorkflow'"):
        found.setdefault(run.task_queue, set()).add(run.id)
    return found
