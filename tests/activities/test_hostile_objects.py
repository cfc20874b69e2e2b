"""A deletion among objects that a tenant filled with anything, with a worker's rights on a real API server.

Every field of ServiceInstance and ServiceBinding is filled: tests/foreign.py reads them from the definitions.
"""

import urllib.error
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from kube.client import Kube
from kube.resources import CONFIG_MAPS, SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, OPERAND_FINALIZER
from tests.activities.test_removal import count, hard_delete, soft_delete
from tests.cluster import free
from tests.conftest import Eventually
from tests.foreign import BYSTANDERS, PATHS, SERVICES

MERGE = "application/merge-patch+json"
TEAM, VICTIM = "tenant", "victim"
MANY = 250


class Tenant:
    """Makes objects of any shape in one namespace, and the Secrets of some bindings."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster, self._person = cluster, Person(cluster)
        self.refused, self._name = 0, uuid.uuid4().hex[:8]
        self.held: list[tuple[Resource, str]] = []
        """What the API server took, each with the operand's finalizer."""
        self.secrets: list[str] = []
        """Of bindings, whose names they have."""
        for namespace in (TEAM, VICTIM):
            self._person.ensure_namespace(namespace)
            for name in BYSTANDERS:
                self._person.put_secret({"a": "b"}, name, namespace)
                self._finalizers(SECRETS.path(namespace, name), [OPERAND_FINALIZER, "example.com/theirs"])

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.held]

    def make(self, resource: Resource, obj: dict[str, Any]) -> None:
        """If the API server takes it. Nobody can write more than it takes, be it spec or status."""
        name = f"{self._name}-{len(self.held) + self.refused}"
        finalizers = dict.fromkeys([*obj["metadata"]["finalizers"], OPERAND_FINALIZER])
        meta = {**obj["metadata"], "name": name, "namespace": TEAM, "finalizers": list(finalizers)}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": obj["spec"]}
        try:
            made = self._cluster.request("POST", resource.path(TEAM), body)
        except urllib.error.HTTPError as error:
            assert error.code in (400, 422), (error.code, body)
            self.refused += 1
            return
        if "status" in obj:
            try:
                path = f"{resource.path(TEAM, name)}/status"
                self._cluster.request("PATCH", path, {"status": obj["status"]}, MERGE)
            except urllib.error.HTTPError as error:
                assert error.code in (400, 422)
        if resource is SERVICE_BINDINGS and len(self.held) % 5 == 0:
            self._secret_of(made)
        self.held.append((resource, name))

    def _secret_of(self, binding: dict[str, Any]) -> None:
        meta = binding["metadata"]
        kind = {"apiVersion": SERVICE_BINDINGS.api_version, "kind": SERVICE_BINDINGS.kind}
        owner = {**kind, "name": meta["name"], "uid": meta["uid"], "controller": True}
        name = binding["spec"].get("secretName") or meta["name"]
        if name != meta["name"]:
            return  # a bystander's, or none that can be
        self._cluster.request("POST", SECRETS.path(TEAM), {"metadata": {"name": name, "ownerReferences": [owner]}})
        self.secrets.append(name)

    def bystanders(self, namespace: str) -> list[Any]:
        """What nobody may change: values, and finalizers of others."""
        found = [self._person.get(SECRETS.path(namespace, name)) or {} for name in BYSTANDERS]
        return [
            (each.get("data"), [f for f in each["metadata"]["finalizers"] if f != OPERAND_FINALIZER])
            for each in found
            if "deletionTimestamp" not in each["metadata"]
        ]

    def in_full(self, namespace: str) -> list[Any]:
        """The same as they stand there, to the last byte."""
        return [self._person.get(SECRETS.path(namespace, name)) for name in BYSTANDERS]

    def leave(self) -> None:
        for namespace in (TEAM, VICTIM):
            for name in BYSTANDERS:
                self._finalizers(SECRETS.path(namespace, name), None)
                self._person.delete(SECRETS.path(namespace, name))

    def _finalizers(self, path: str, names: list[str] | None) -> None:
        self._cluster.request("PATCH", path, {"metadata": {"finalizers": names}}, MERGE)


def crowd(cluster: ControlPlane) -> Tenant:
    """Many objects of a tenant."""
    tenant, kinds = Tenant(cluster), Counter[str]()
    for name in filter(None, PATHS):
        references = [{"secretKeyRef": {"name": name, "key": "k"}}]
        watching = {"parametersFrom": references, "watchParametersFromChanges": True}
        spec = {"serviceOfferingName": "o", "servicePlanName": "p", **watching}
        tenant.make(SERVICE_INSTANCES, {"metadata": {"finalizers": []}, "spec": spec})
        bound = {"serviceInstanceName": "i", "secretName": name}
        tenant.make(SERVICE_BINDINGS, {"metadata": {"finalizers": []}, "spec": bound})

    @settings(max_examples=MANY, phases=[Phase.generate])
    @given(SERVICES)
    def make(found: tuple[Resource, dict[str, Any]]) -> None:
        tenant.make(*found)
        kinds[found[0].kind] += 1

    make()
    print(f"{len(tenant.held)} objects, {tenant.refused} refused by the API server, {kinds}")
    assert min(kinds.values()) > MANY / 5 and len(tenant.held) > MANY / 2 and tenant.secrets
    return tenant


async def left(kube: Kube) -> list[str]:
    """Objects that still carry the operand's finalizer."""
    found = [obj for kind in (SERVICE_INSTANCES, SERVICE_BINDINGS) for obj in (await kube.list(kind)).items]
    return [obj["metadata"]["name"] for obj in found if OPERAND_FINALIZER in (obj["metadata"].get("finalizers") or [])]


async def clean(kube: Kube, tenant: Tenant) -> None:
    tenant.leave()
    for kind in (SERVICE_INSTANCES, SERVICE_BINDINGS):
        for obj in (await kube.list(kind)).items:
            await free(kube, kind, obj)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_hard_delete_ends_among_objects_of_any_shape_and_touches_nothing_else(
    control_plane: ControlPlane, kube: Kube, worker: Kube, operand: None, deletion: Mandate, eventually: Eventually
) -> None:
    tenant = crowd(control_plane)
    before, whole = tenant.bystanders(TEAM), tenant.in_full(VICTIM)
    try:
        counted = await count(worker, deletion)
        assert counted.bindings + counted.instances <= len(tenant.held)  # the garbage collector misses some owners
        removed = await hard_delete(worker, deletion, seconds=120)
        assert 0 < removed.bindings + removed.instances <= len(tenant.held)
        assert (await kube.list(SERVICE_BINDINGS)).items == (await kube.list(SERVICE_INSTANCES)).items == []

        async def without_secrets() -> bool:
            """What the garbage collector took before anybody looked, it takes with its Secret, a while later."""
            return not [name for name in tenant.secrets if await kube.find(SECRETS, name, TEAM)]

        await eventually(without_secrets, 120)  # the collector tries a kind that it does not know yet ever more seldom
        assert tenant.bystanders(TEAM) == before and tenant.in_full(VICTIM) == whole
    finally:
        await clean(kube, tenant)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_soft_delete_lets_objects_of_any_shape_go_and_reports_each(
    control_plane: ControlPlane, kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    tenant = crowd(control_plane)
    before, whole = tenant.bystanders(TEAM), tenant.in_full(VICTIM)
    try:
        result = await soft_delete(worker, deletion)
        assert (result.abandoned_total, result.kept) == (len(tenant.held), [])  # nobody else took the finalizer off
        report = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
        assert report["total"] == str(len(tenant.held)) == str(len(report["objects.jsonl"].splitlines()))
        assert await left(kube) == []
        kept = {obj["metadata"]["name"] for obj in (await kube.list(SERVICE_BINDINGS)).items}  # by finalizers of others
        assert {name for name in tenant.secrets if await kube.find(SECRETS, name, TEAM)} <= kept < set(tenant.names)
        assert tenant.bystanders(TEAM) == before and tenant.in_full(VICTIM) == whole
    finally:
        await clean(kube, tenant)
