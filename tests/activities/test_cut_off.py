"""A worker that the API server does not answer hands its work on: another one may reach it."""

from collections.abc import AsyncIterator

import pytest
from temporalio.exceptions import ApplicationError

from activities.responsibility import ResponsibilityActivities
from kube.client import Kube
from kube.request import REQUESTS
from localcluster.controlplane import ControlPlane
from localcluster.lines import Line
from localcluster.shipped import Shipped
from models.mandate import Mandate
from models.provision import Standing
from tests.acting import provision
from tests.cluster import connected
from workflows.failures import AWAY


@pytest.fixture
async def line(control_plane: ControlPlane) -> AsyncIterator[Line]:
    with Line("worker") as started:
        started.target = int(control_plane.url.rpartition(":")[2])
        yield started


@pytest.fixture
async def cut_off(line: Line, shipped: Shipped) -> AsyncIterator[Kube]:
    """The cluster, as a worker sees it at the end of the line."""
    client = await connected(shipped.kubeconfig("worker", f"https://127.0.0.1:{line.port}"))
    yield client
    await client.close()


def sent() -> float:
    """How many requests were sent so far."""
    return sum(sample.value for metric in REQUESTS.collect() for sample in metric.samples if "_total" in sample.name)


async def test_only_the_first_step_after_the_cut_is_tried_for_long(mandate: Mandate, line: Line, cut_off: Kube) -> None:
    assess = ResponsibilityActivities(cut_off).assess_operator
    assert (await provision(assess, mandate)).standing is Standing.RESPONSIBLE
    line.cut()
    with pytest.raises(ApplicationError) as first:
        await provision(assess, mandate)
    assert first.value.type == "Unavailable"
    before = sent()
    with pytest.raises(ApplicationError) as second:
        await provision(assess, mandate)
    assert second.value.type == AWAY
    assert sent() == before + 1
    line.heal()
    assert (await provision(assess, mandate)).standing is Standing.RESPONSIBLE
