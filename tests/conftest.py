"""Servers are started once for a session; a test gets a cleaned cluster and a task queue of its own."""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from kube.client import Kube
from kube.resources import BTP_OPERATORS
from localcluster.binaries import binary
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.shipped import Shipped
from localcluster.temporal import TemporalServer
from models.mandate import Mandate
from models.names import FINALIZER
from models.operators import Operator, OperatorRef
from operand.rendering import ChartRenderer
from runtime.search_attributes import have_search_attributes
from tests.acting import mandate_for
from tests.cluster import connected, remove_everything

# The same examples in every run, and none fails because the machine was slow.
settings.register_profile("repeatable", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    if sys.version_info < (3, 11, 7):  # 3.11.2, Debian 12's, says so of connections that aiohttp has closed
        for left in (
            "transport <asyncio._SSLProtocolTransport",
            "transport <_SelectorSocketTransport",
            "<socket.socket",
        ):
            config.addinivalue_line("filterwarnings", f"ignore:unclosed {left}")


OPERAND_CHART = CHECKOUT / "chart" / "sap-btp-operator"


@pytest.fixture(scope="session", autouse=True)
def helm_on_path() -> Iterator[None]:
    """The built Helm comes first, as in the image."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{binary('helm').parent}{os.pathsep}{before}"
    yield
    os.environ["PATH"] = before


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    server = TemporalServer(tmp_path_factory.mktemp("temporal"), ui=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def temporal(temporal_server: TemporalServer) -> Client:
    client = await Client.connect(temporal_server.address, data_converter=pydantic_data_converter)
    assert await have_search_attributes(client)
    return client


@pytest.fixture
def task_queue() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def release(control_plane: ControlPlane) -> Shipped:
    """chart/btp-manager, which may be installed or not."""
    return Shipped(control_plane)


@pytest.fixture
def chart_arguments() -> tuple[str, ...]:
    """What Helm is told when the chart is installed: nothing, where a file does not override this."""
    return ()


@pytest.fixture
def shipped(release: Shipped, kube: Kube, chart_arguments: tuple[str, ...]) -> Shipped:
    """The chart is installed: the rights and the policy of a worker and a trigger are there, and no process."""
    release.ensure(*chart_arguments)
    return release


@pytest.fixture
def bare(release: Shipped) -> None:
    """The chart is not installed: the test does that."""
    release.remove()


@pytest.fixture
async def worker(shipped: Shipped) -> AsyncIterator[Kube]:
    """The cluster with the rights of a worker: for whatever of the manager a test runs."""
    client = await connected(shipped.kubeconfig("worker"))
    yield client
    await client.close()


@pytest.fixture
async def trigger(shipped: Shipped) -> AsyncIterator[Kube]:
    """The cluster with the rights of a trigger."""
    client = await connected(shipped.kubeconfig("trigger"))
    yield client
    await client.close()


@pytest.fixture
async def kube(control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """The cluster for an administrator, as the test itself is, with nothing in it that an earlier test left."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig()))
    client = await Kube.from_environment()
    await remove_everything(client)
    yield client
    await remove_everything(client)
    await client.close()


@pytest.fixture
def person(control_plane: ControlPlane, kube: Kube) -> Person:
    """Somebody with kubectl."""
    return Person(control_plane)


@pytest.fixture
def renderer() -> ChartRenderer:
    """Without the operand's rights: they come with chart/btp-manager."""
    return ChartRenderer(OPERAND_CHART, rbac=False)


@pytest.fixture
def ref(person: Person) -> OperatorRef:
    """A BtpOperator that exists."""
    return Operator.from_object(person.create_operator("btpoperator")).ref


@pytest.fixture
async def mandate(kube: Kube, ref: OperatorRef) -> Mandate:
    """Of a BtpOperator that exists and holds our finalizer."""
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": [FINALIZER]}})
    return await mandate_for(kube, ref)


@pytest.fixture
async def deletion(kube: Kube, mandate: Mandate) -> Mandate:
    """Of the same BtpOperator, which is being deleted."""
    await kube.delete(BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace)
    return mandate


@pytest.fixture
def credentials(person: Person) -> dict[str, str]:
    """A good Secret sap-btp-manager that exists."""
    person.put_secret(CREDENTIALS)
    return CREDENTIALS


class Eventually(Protocol):
    """Wait until something is so, `seconds` at most."""

    async def __call__(self, true: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None: ...


@pytest.fixture
def eventually() -> Eventually:
    """Wait, with a limit, until something is so."""

    async def wait(true: Callable[[], Awaitable[object]], seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while not await true():
                await asyncio.sleep(0.02)

    return wait


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    """A test that leaves an asyncio task running has lost something."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() - before if not task.done() and task is not asyncio.current_task()}
    with contextlib.suppress(TimeoutError):
        if left:
            await asyncio.wait(left, timeout=1)
    assert not [task for task in left if not task.done()]
