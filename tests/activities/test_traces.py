"""Cluster ids and namespaces change in any order, and writing fails in between: nothing of before is left behind."""

import base64
import json
import random

import pytest
from temporalio.exceptions import ApplicationError

from activities.teardown import TeardownActivities
from kube.answers import Object
from kube.client import Allowed, Deletion, Kube
from kube.errors import Refused
from kube.resources import BTP_OPERATORS, CONFIG_MAPS, SECRETS, Resource
from localcluster.client import CREDENTIALS, Person
from models.mandate import Mandate
from models.names import (
    CREDENTIALS_NAMESPACES_ANNOTATION,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
)
from operand.credentials import Credentials, installed_credentials
from operand.rendering import ChartRenderer
from tests.acting import removed
from tests.activities.steps import Steps
from tests.cluster import encoded, ensure_namespace

PLACES = (KYMA_NAMESPACE, "credentials-one", "credentials-two")
THEIRS, LOOKALIKE = "credentials-theirs", "credentials-lookalike"


@pytest.fixture
async def chart_arguments(kube: Kube) -> tuple[str, ...]:
    """Credentials may move to these namespaces."""
    names = [await ensure_namespace(kube, name) for name in PLACES[1:]]
    return "--set-json", f"credentialsNamespaces={json.dumps(names)}"


class Failing(Kube):
    """A cluster that refuses one write: the one of that number, before or after it was carried out."""

    fails_at = 0
    late = False

    async def apply(self, resource: Resource, obj: Object, *, allowed: Allowed = None) -> Object:
        self._fail(late=False)
        after = await super().apply(resource, obj, allowed=allowed)
        self._fail(late=True)
        return after

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str = "",
        version: str = "",
        allowed: Allowed = None,
    ) -> Deletion:
        self._fail(late=False)
        deletion = await super().delete(resource, name, namespace, uid=uid, allowed=allowed)
        self._fail(late=True)
        return deletion

    def _fail(self, late: bool) -> None:
        if late is not self.late:
            return
        self.fails_at -= 1
        if self.fails_at == 0:
            raise Refused("refused for the test", status=403)


class Operand:
    """What the operand does with its cluster id when it starts."""

    def __init__(self, kube: Kube, person: Person) -> None:
        self._kube, self._person = kube, person

    async def start(self) -> bool:
        """Whether it can; else it panics."""
        config = await self._kube.find(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
        if config is None:
            return True
        kept = await kept_id(self._kube, KYMA_NAMESPACE)
        if kept is None and await kept_id(self._kube, config["data"]["RELEASE_NAMESPACE"]) is None:
            self.remember(config["data"]["CLUSTER_ID"], config["data"]["RELEASE_NAMESPACE"])
        return kept in (None, config["data"]["CLUSTER_ID"])

    def remember(self, cluster_id: str, namespace: str) -> None:
        self._person.put_secret({"INITIAL_CLUSTER_ID": cluster_id}, OPERAND_CLUSTER_ID_SECRET, namespace)


@pytest.fixture
async def places(kube: Kube, person: Person) -> None:
    """Namespaces, two of them with Secrets of others that look like ours, and what an earlier test left taken away."""
    for namespace in (*PLACES, THEIRS, LOOKALIKE):
        await ensure_namespace(kube, namespace)
        for name in (OPERAND_CREDENTIALS_SECRET, OPERAND_CLUSTER_ID_SECRET):
            await kube.delete(SECRETS, name, namespace)
    person.put_secret({"clientid": "theirs"}, OPERAND_CREDENTIALS_SECRET, THEIRS)
    person.put_secret({"INITIAL_CLUSTER_ID": "theirs"}, OPERAND_CLUSTER_ID_SECRET, THEIRS)
    person.put_secret({"clientid": "theirs"}, OPERAND_CREDENTIALS_SECRET, LOOKALIKE)
    labels = {"metadata": {"labels": {MANAGED_BY_LABEL: MANAGED_BY}}}
    path, how = SECRETS.path(LOOKALIKE, OPERAND_CREDENTIALS_SECRET), "application/merge-patch+json"
    person._cluster.request("PATCH", path, labels, how)


async def kept_id(kube: Kube, namespace: str) -> str | None:
    found = await kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, namespace)
    return base64.b64decode(found["data"]["INITIAL_CLUSTER_ID"]).decode() if found else None


def a_secret(cluster_id: str, namespace: str = KYMA_NAMESPACE) -> dict[str, str]:
    return CREDENTIALS | {"cluster_id": cluster_id, "credentials_namespace": namespace}


async def misled(kube: Kube) -> None:
    """Somebody who may write ConfigMaps wants Secrets deleted that are none of the manager's business."""
    note = f"{THEIRS},{LOOKALIKE},../secrets/x?,{'a' * 70}"
    change = {
        "metadata": {"annotations": {CREDENTIALS_NAMESPACES_ANNOTATION: note}},
        "data": {"RELEASE_NAMESPACE": f"{THEIRS}/secrets/x?y="},
    }
    await kube.merge(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE, change)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_of_before_is_left_after_any_order_of_changes_and_failures(
    kube: Kube, worker: Kube, person: Person, renderer: ChartRenderer, mandate: Mandate, places: None, seed: int
) -> None:
    chance = random.Random(seed)
    failing = Failing(worker._transport)
    steps, operand = Steps(failing, renderer), Operand(kube, person)
    for _ in range(6):
        cluster_id, namespace = chance.choice(["a", "b", "c"]), chance.choice(PLACES)
        person.put_secret(a_secret(cluster_id, namespace))
        if chance.random() < 0.2:
            operand.remember("left by an earlier installation", chance.choice([KYMA_NAMESPACE, namespace]))
        failing.fails_at, failing.late = chance.choice([0, *range(1, 16)]), chance.random() < 0.5
        try:
            await steps.apply(mandate)
        except ApplicationError as error:
            assert "refused for the test" in str(error)
        if chance.random() < 0.5:
            await operand.start()
    failing.fails_at = 0
    await steps.apply(mandate)
    await operand.start()
    assert (await steps.apply(mandate)).written == []
    assert await operand.start(), "the operand panics: it remembers another cluster id"
    where = [place for place in PLACES if await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, place)]
    assert where == [namespace]
    assert await kept_id(kube, namespace) in (None, cluster_id)
    config = await kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    assert config["metadata"]["annotations"][CREDENTIALS_NAMESPACES_ANNOTATION] == namespace
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, THEIRS)


async def test_credentials_in_another_namespace_go_with_the_operand_by_the_rights_that_the_chart_grants(
    kube: Kube, worker: Kube, person: Person, renderer: ChartRenderer, mandate: Mandate, places: None
) -> None:
    elsewhere = next(place for place in PLACES if place != KYMA_NAMESPACE)
    person.put_secret(a_secret("a", elsewhere))
    await Steps(worker, renderer).apply(mandate)
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, elsewhere)
    await kube.delete(BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace)
    await removed(TeardownActivities(worker), mandate)
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, elsewhere) is None
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, THEIRS)


async def test_a_cluster_id_that_an_earlier_installation_left_is_forgotten_before_the_operand_starts(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, places: None
) -> None:
    operand = Operand(kube, person)
    operand.remember("earlier", KYMA_NAMESPACE)
    person.put_secret(a_secret("a"))
    await steps.apply(mandate)
    assert await operand.start()


async def test_the_same_cluster_id_stays_remembered_and_a_secret_without_one_is_left_alone(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, places: None
) -> None:
    Operand(kube, person).remember("a", KYMA_NAMESPACE)
    person.put_secret({"something": "else"}, OPERAND_CLUSTER_ID_SECRET, PLACES[1])
    person.put_secret(a_secret("a", PLACES[1]))
    await steps.apply(mandate)
    assert await kept_id(kube, KYMA_NAMESPACE) == "a"
    assert await kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, PLACES[1])


async def test_whoever_may_write_the_configuration_has_nothing_deleted_or_read_elsewhere(
    steps: Steps, kube: Kube, worker: Kube, person: Person, mandate: Mandate, places: None
) -> None:
    person.put_secret(a_secret("a"))
    await steps.apply(mandate)
    await misled(kube)
    found = await installed_credentials(worker)
    assert isinstance(found, Credentials) and found.namespace == KYMA_NAMESPACE
    assert found.values()["manager"]["secret"]["data"]["clientid"] == encoded(CREDENTIALS)["clientid"]
    await steps.apply(mandate)
    for namespace in (THEIRS, LOOKALIKE):
        assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, namespace)
    assert await kept_id(kube, THEIRS) == "theirs"
