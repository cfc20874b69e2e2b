"""By what the Go manager is seen, and that nothing is begun while it runs. Against a real API server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from activities.other_manager import OtherManagerActivities
from btpctl.rights import needed
from kube.client import Kube
from kube.resources import BTP_OPERATORS, DEPLOYMENTS, LEASES
from models.conditions import Reason
from models.mandate import Mandate
from models.names import GO_MANAGER_DEPLOYMENT, GO_MANAGER_LEASE, KYMA_NAMESPACE
from models.provision import ChartInput
from operand.other_manager import other_manager
from tests.acting import deprovision, provision
from tests.activities.steps import Steps
from tests.gomanager import deploy, remove_traces


@pytest.fixture
async def cluster(kube: Kube) -> AsyncIterator[Kube]:
    yield kube
    await remove_traces(kube)


async def lease(kube: Kube, age: timedelta, holder: str = "btp-manager-controller-manager-1_2") -> None:
    renewed = (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    await kube.create(
        LEASES,
        {
            "metadata": {"name": GO_MANAGER_LEASE, "namespace": KYMA_NAMESPACE},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed},
        },
    )


async def test_it_is_seen_by_its_replicas_or_by_a_lease_that_it_renews(cluster: Kube, worker: Kube) -> None:
    assert await other_manager(worker) == ""
    await deploy(cluster, replicas=0)
    assert await other_manager(worker) == ""
    await lease(cluster, timedelta(seconds=5))
    assert await other_manager(worker) == (
        f"Lease {KYMA_NAMESPACE}/{GO_MANAGER_LEASE} was renewed within the last minute"
    )
    await cluster.merge(DEPLOYMENTS, GO_MANAGER_DEPLOYMENT, KYMA_NAMESPACE, {"spec": {"replicas": 1}})
    assert await other_manager(worker) == f"Deployment {KYMA_NAMESPACE}/{GO_MANAGER_DEPLOYMENT} has replicas: 1"


@pytest.mark.parametrize(
    ("age", "holder"),
    [
        pytest.param(timedelta(minutes=2), "somebody", id="not renewed any more"),
        pytest.param(timedelta(seconds=1), "", id="given up"),
        pytest.param(timedelta(days=-3650), "somebody", id="of the future"),
    ],
)
async def test_a_lease_that_nobody_renews_stops_nobody(
    cluster: Kube, worker: Kube, age: timedelta, holder: str
) -> None:
    await lease(cluster, age, holder)
    assert await other_manager(worker) == ""


async def test_a_cr_stands_aside_alive_and_in_deletion_and_the_wait_ends_with_the_other_manager(
    cluster: Kube, worker: Kube, steps: Steps, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await deploy(cluster, replicas=1)
    seen = await provision(steps.responsibility.assess_operator, mandate)
    assert seen.finding and seen.finding.reason is Reason.OTHER_MANAGER_RUNS
    assert "has replicas: 1): nothing is applied and nothing deleted" in seen.finding.message
    await cluster.delete(BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace)
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).aside == seen.finding.message
    waiting = OtherManagerActivities(worker).wait_until_alone
    wait = asyncio.create_task(provision(waiting, ChartInput(mandate=mandate)))
    await cluster.merge(DEPLOYMENTS, GO_MANAGER_DEPLOYMENT, KYMA_NAMESPACE, {"spec": {"replicas": 0}})
    await asyncio.wait_for(wait, 20)
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).aside == ""


async def test_the_wait_for_the_other_manager_ends_with_the_cr(cluster: Kube, worker: Kube, mandate: Mandate) -> None:
    """Its run would stay open for a quarter of an hour else, if no trigger tells it."""
    await deploy(cluster, replicas=1)
    ref, waiting = mandate.ref, OtherManagerActivities(worker).wait_until_alone
    wait = asyncio.create_task(provision(waiting, ChartInput(mandate=mandate)))
    await asyncio.sleep(1)
    assert not wait.done()
    await cluster.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": None}})
    await cluster.delete(BTP_OPERATORS, ref.name, ref.namespace)
    await asyncio.wait_for(wait, 20)


def test_the_doctor_asks_for_the_right_to_see_it() -> None:
    assert (LEASES, "get", KYMA_NAMESPACE, GO_MANAGER_LEASE) in needed([])
