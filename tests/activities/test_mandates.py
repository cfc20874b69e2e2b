"""How a mandate is looked at among many BtpOperators, and with an API server that takes its time."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from kube.client import Kube
from kube.request import REQUESTS
from kube.resources import BTP_OPERATORS
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from localcluster.faults import Fault, FaultProxy
from localcluster.shipped import Shipped
from models.mandate import Mandate, Purpose
from models.names import FINALIZER
from models.operators import OperatorRef
from operand.mandated import WATCH_AFTER, MandateLost, holding
from tests.acting import mandate_for
from tests.activities.deletion import hard_delete, seed
from tests.cluster import connected

LISTS = r"/btpoperators\?"


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    with FaultProxy(control_plane) as started:
        yield started


@pytest.fixture
async def behind(proxy: FaultProxy, shipped: Shipped) -> AsyncIterator[Kube]:
    """The cluster with the rights of a worker, by way of the proxy."""
    client = await connected(shipped.kubeconfig("worker", proxy.url))
    yield client
    await client.close()


def looks(verb: str) -> float:
    found = [sample for metric in REQUESTS.collect() for sample in metric.samples if sample.name.endswith("_total")]
    mine = [each for each in found if (each.labels["verb"], each.labels["kind"]) == (verb, BTP_OPERATORS.kind)]
    return sum(each.value for each in mine)


async def test_btpoperators_that_take_longer_to_list_than_a_look_is_believed_keep_nothing_from_going(
    kube: Kube, proxy: FaultProxy, behind: Kube, operand: None, deletion: Mandate
) -> None:
    """As where somebody makes hundreds of CRs with hundreds of kilobytes each."""
    await seed(kube, 1, 1)
    proxy.add(Fault(methods=("GET",), path=LISTS, watch=False, latency=4.0))
    assert (await hard_delete(behind, deletion)).instances == 1


async def test_an_api_server_too_slow_for_any_fresh_look_is_named_as_what_stands_in_the_way(
    kube: Kube, proxy: FaultProxy, behind: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 1)
    proxy.add(Fault(methods=("GET",), path="/btpoperators", watch=False, latency=3.5))
    told = await hard_delete(behind, deletion)
    assert not told.is_done and "has to be looked at again first" in " ".join(told.obstacles.values())


async def test_whoever_changes_other_btpoperators_all_the_time_has_none_of_them_listed(
    kube: Kube, worker: Kube, person: Person, mandate: Mandate
) -> None:
    person.ensure_namespace("team-a")
    for number in range(3):
        person.create_operator(f"spare-{number}", "team-a")
    await kube.merge(BTP_OPERATORS, "spare-2", "team-a", {"metadata": {"finalizers": [FINALIZER]}})
    async with holding(worker, mandate, Purpose.PROVISION):
        await asyncio.sleep(WATCH_AFTER + 1)
        before = looks("list"), looks("get")
        for change in range(30):
            name = f"spare-{change % 3}"
            await kube.merge(BTP_OPERATORS, name, "team-a", {"metadata": {"labels": {"change": str(change)}}})
        person.delete(BTP_OPERATORS.path("team-a", "spare-1"))
        await asyncio.sleep(1)
        assert (looks("list"), looks("get")) == before


async def test_an_older_btpoperator_that_gets_our_finalizer_takes_the_mandate_within_a_second(
    kube: Kube, worker: Kube, person: Person
) -> None:
    person.ensure_namespace("team-a")
    person.create_operator("older", "team-a")
    await asyncio.sleep(1.1)  # times are whole seconds
    made = person.create_operator("btpoperator")["metadata"]
    await kube.merge(BTP_OPERATORS, "btpoperator", made["namespace"], {"metadata": {"finalizers": [FINALIZER]}})
    mandate = await mandate_for(kube, OperatorRef(**{key: made[key] for key in ("namespace", "name", "uid")}))
    with pytest.raises(MandateLost, match="team-a/older is responsible"):
        async with asyncio.timeout(WATCH_AFTER + 3), holding(worker, mandate, Purpose.PROVISION):
            await asyncio.sleep(WATCH_AFTER + 1)
            await kube.merge(BTP_OPERATORS, "older", "team-a", {"metadata": {"finalizers": [FINALIZER]}})
            await asyncio.sleep(5)
