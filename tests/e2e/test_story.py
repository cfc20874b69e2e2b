"""The whole thing as its users run it: real processes, a real control plane, a real Temporal server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from dispatch.names import default_task_queue, schedule_id
from kube.resources import NAMESPACES
from localcluster.client import Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from tests.e2e.canaries import Canaries, histories, outside

CANARIES = {
    "clientid": "canary-Kx7-client-identity",
    "clientsecret": "canary-Qz9-client-secret",
    "sm_url": "https://canary-Wm2.service-manager.example",
    "tokenurl": "https://canary-Rv4.token.example",
    "cluster_id": "canary-Ty6-cluster",
    "tls.key": "canary-Uo8-private-key",
}
GRACE = 20.0
"""Seconds between SIGTERM and SIGKILL: terminationGracePeriodSeconds of chart/btp-manager."""
SERVICE = "/api/v1/namespaces/kyma-system/services/sap-btp-operator-webhook-service"


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment(settings={"BTP_READY_TIMEOUT": "20s"}) as started:
        yield started


@pytest.fixture
def person(environment: Environment) -> Person:
    return Person(environment.cluster)


@pytest.fixture
async def client(environment: Environment) -> AsyncIterator[Client]:
    yield await Client.connect(environment.temporal.address, data_converter=pydantic_data_converter)


def becomes(person: Person, name: str, state: str, reason: str, *words: str) -> None:
    def so() -> bool:
        status = person.status(name)
        return bool(
            status and (status.state, status.reason) == (state, reason) and all(w in status.message for w in words)
        )

    wait_until(so, f"{name} {state}/{reason} (it is {person.status(name)})")


def test_from_nothing_to_ready_and_back_to_nothing(person: Person, environment: Environment) -> None:
    person.create_operator("first")
    becomes(person, "first", "Error", "MissingSecret")
    person.put_secret({"clientid": CANARIES["clientid"]})
    becomes(person, "first", "Error", "InvalidSecret", "clientsecret, cluster_id, sm_url, tokenurl")
    person.put_secret(CANARIES)
    becomes(person, "first", "Ready", "ReconcileSucceeded")
    person.create_operator("second")
    becomes(person, "second", "Error", "OlderCRExists", "kyma-system/first")

    person.delete(SERVICE)
    wait_until(lambda: person.get(SERVICE), "the Service to be back")
    person.delete("/apis/scheduling.k8s.io/v1/priorityclasses/kyma-system")
    becomes(person, "first", "Ready", "ReconcileSucceeded")

    person.delete_operator("first")
    wait_until(lambda: person.status("first") is None, "the first CR to be gone")
    becomes(person, "second", "Error", "MissingPriorityClass", "kyma-system")
    environment.cluster.request(
        "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "kyma-system"}, "value": 1}
    )
    becomes(person, "second", "Ready", "ReconcileSucceeded")
    person.delete_operator("second")
    wait_until(lambda: person.status("second") is None, "the second CR to be gone")
    assert person.managed_objects() == []


async def test_nothing_happens_when_nothing_changes_and_a_resync_writes_nothing(
    person: Person, environment: Environment, client: Client
) -> None:
    person.put_secret(CANARIES)
    person.create_operator("quiet")
    becomes(person, "quiet", "Ready", "ReconcileSucceeded")
    runs = await _settled(client)
    await asyncio.sleep(4)
    assert await _count(client) == runs
    versions = _versions(person)
    cluster = person.get(NAMESPACES.path(name="kube-system")) or {}
    await client.get_schedule_handle(schedule_id(default_task_queue(cluster["metadata"]["uid"]))).trigger()
    async with asyncio.timeout(20):
        while await _count(client) < runs + 2 or await _running(client):
            await asyncio.sleep(0.1)
    assert await _count(client) == runs + 2  # the resync and the one look it asked for
    assert _versions(person) == versions
    person.delete_operator("quiet")
    wait_until(lambda: person.status("quiet") is None, "the CR to be gone")


async def test_no_workflow_failed_and_no_history_log_or_command_line_holds_a_value_of_the_secret(
    environment: Environment, client: Client
) -> None:
    canaries = Canaries(CANARIES.values())
    assert [run.id async for run in client.list_workflows() if run.status is WorkflowExecutionStatus.FAILED] == []
    recorded = await histories(client)
    assert len(recorded) > 5
    assert [run for run, history in recorded.items() if canaries.found_in(history)] == []
    assert [place for place, content in outside(environment) if not content or canaries.found_in(content)] == []


def test_a_process_with_a_bad_setting_ends_with_status_2_and_one_sentence(environment: Environment) -> None:
    for manager in (environment.workers[0], environment.triggers[0]):
        broken = environment.another(manager, {"BTP_READY_TIMEOUT": "soon"})
        broken.start()
        process = broken.process
        assert process is not None
        assert process.wait() == 2
        assert "BTP_READY_TIMEOUT: 'soon' is not a duration such as 90s" in process.tail()
        assert "Traceback" not in process.tail(100)


def test_neither_process_is_an_administrator(environment: Environment) -> None:
    for manager in (environment.workers[0], environment.triggers[0]):
        config = yaml.safe_load(Path(manager.environment["KUBECONFIG"]).read_text())
        review = {"spec": {"token": config["users"][0]["user"]["token"]}}
        found = environment.cluster.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        user = found["status"]["user"]
        assert user["username"] == f"system:serviceaccount:kyma-system:btp-manager-{manager.module}"
        assert "system:masters" not in user["groups"]


def test_both_processes_stop_cleanly_and_quickly_when_told_to(environment: Environment) -> None:
    for manager in environment.triggers + environment.workers:
        assert manager.process is not None
        assert manager.process.stop(patience=GRACE) == 0, manager.process.tail()  # else it was killed
        assert "Traceback" not in manager.process.tail(1000)


def _versions(person: Person) -> list[str]:
    listing = person.get("/apis/operator.kyma-project.io/v1alpha1/btpoperators")
    config = person.get("/api/v1/namespaces/kyma-system/secrets")
    assert listing and config
    return [item["metadata"]["resourceVersion"] for item in listing["items"] + config["items"]]


async def _count(client: Client) -> int:
    return (await client.count_workflows()).count


async def _settled(client: Client) -> int:
    """How many workflows there have been, once nothing has followed from the last one for two seconds."""
    async with asyncio.timeout(60):
        while True:
            before = await _count(client)
            await asyncio.sleep(2)
            if not await _running(client) and await _count(client) == before:
                return before


async def _running(client: Client) -> int:
    return (await client.count_workflows("ExecutionStatus = 'Running'")).count
