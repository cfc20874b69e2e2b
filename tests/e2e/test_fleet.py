"""Two clusters on one Temporal server, with CRs of the same name: docs/scale.md."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities.teardown import TeardownActivities
from dispatch.names import default_task_queue
from kube.resources import NAMESPACES
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.temporal import TemporalServer
from models.deprovision import TeardownInput
from models.mandate import Mandate
from models.names import OTHER_CLUSTER, RESYNC_SCHEDULE
from models.operators import OperatorRef
from tests.acting import deprovision
from tests.cluster import connected

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    server = TemporalServer(Path(tmp_path_factory.mktemp("temporal")), ui=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(temporal: TemporalServer) -> Iterator[list[Environment]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Environment(temporal=temporal)) for _ in range(2)]


def ready(person: Person) -> bool:
    status = person.status("btpoperator")
    return status is not None and status.state == "Ready"


def task_queue(environment: Environment) -> str:
    found = Person(environment.cluster).get(NAMESPACES.path(name="kube-system")) or {}
    return default_task_queue(found["metadata"]["uid"])


def test_clusters_share_a_temporal_namespace_with_default_settings_and_never_meet(
    fleet: list[Environment], temporal: TemporalServer
) -> None:
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
    queues = [task_queue(environment) for environment in fleet]
    assert set(asyncio.run(by_task_queue(temporal, queues))) == set(queues) and len(set(queues)) == 2


def test_a_worker_refuses_the_task_queue_of_another_cluster_and_says_how_to_take_it_over(
    fleet: list[Environment],
) -> None:
    first, second = fleet
    queue = task_queue(first)
    stray = second.another(second.workers[0], {"BTP_TASK_QUEUE": queue})
    stray.start()
    assert stray.process is not None and stray.process.wait(30) == 2
    last = stray.process.tail(1)
    assert f"task queue {queue} serves cluster {queue.removeprefix('btp-manager-')}" in last
    assert f"temporal schedule delete --schedule-id {RESYNC_SCHEDULE}/{queue}" in last


def test_a_deletion_given_to_a_worker_of_another_cluster_is_refused_there_and_nothing_is_touched(
    fleet: list[Environment],
) -> None:
    """As if somebody had forced both onto one queue: an activity of the first cluster is run in the second one."""
    _, second = fleet
    person = Person(second.cluster)
    wait_until(lambda: ready(person), "the second cluster's CR to be Ready")
    installed = person.managed_objects()
    mandate = Mandate(cluster="0000-of-another-cluster", ref=OperatorRef(namespace="a", name="b", uid="c"))
    with pytest.raises(ApplicationError) as error:
        asyncio.run(remove_resources(second, mandate))
    assert error.value.type == OTHER_CLUSTER and not error.value.non_retryable
    assert person.managed_objects() == installed


async def remove_resources(environment: Environment, mandate: Mandate) -> None:
    kube = await connected(environment.shipped.kubeconfig("worker"))
    try:
        await deprovision(TeardownActivities(kube).remove_resources, TeardownInput(mandate=mandate))
    finally:
        await kube.close()


async def by_task_queue(temporal: TemporalServer, queues: list[str]) -> dict[str, set[str]]:
    """Ids of all workflows of CRs; each cluster has a Schedule of its own besides."""
    client, found = await Client.connect(temporal.address), dict[str, set[str]]()
    for queue in queues:
        assert (await client.get_schedule_handle(f"{RESYNC_SCHEDULE}/{queue}").describe()).id
    async for run in client.list_workflows("WorkflowType != 'ResyncWorkflow'"):
        found.setdefault(run.task_queue, set()).add(run.id)
    return found
