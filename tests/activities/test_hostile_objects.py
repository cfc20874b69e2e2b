"""A deletion among objects that a tenant filled with anything, with a worker's rights on a real API server.

Every field of ServiceInstance and ServiceBinding is filled: tests/foreign.py reads them from the definitions. So are
those of their Secrets, and the tenant's Namespace carries our labels.
"""

import json
import urllib.error
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from prometheus_client import REGISTRY

from kube.client import Kube
from kube.resources import CONFIG_MAPS, NAMESPACES, SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import (
    ABANDONED_REPORT,
    FORCE_DELETE_LABEL,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OPERAND_FINALIZER,
    REPORT_LABEL,
)
from tests.activities.deletion import count, hard_delete, soft_delete
from tests.cluster import ensure_namespace, free
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
        self.sticky: list[str] = []
        """The same with finalizers, which are not ours to take off."""
        for namespace in (TEAM, VICTIM):
            self._person.ensure_namespace(namespace)
            ours = {MANAGED_BY_LABEL: MANAGED_BY, FORCE_DELETE_LABEL: "true", REPORT_LABEL: ABANDONED_REPORT}
            cluster.request("PATCH", NAMESPACES.path(name=namespace), {"metadata": {"labels": ours}}, MERGE)
            for name in BYSTANDERS:
                self._person.put_secret({"a": "b"}, name, namespace)
                self._finalizers(SECRETS.path(namespace, name), [OPERAND_FINALIZER, "example.com/theirs"])

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.held]

    def make(self, resource: Resource, obj: dict[str, Any], secret: dict[str, Any]) -> None:
        """If the API server takes it. Nobody can write more than it takes, be it spec or status."""
        name = f"{self._name}-{len(self.held) + self.refused}"
        finalizers = [*obj["metadata"]["finalizers"], OPERAND_FINALIZER]  # one may be there twice
        meta = {**obj["metadata"], "name": name, "namespace": TEAM, "finalizers": finalizers}
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
            self._secret_of(made, secret)
        self.held.append((resource, name))

    def _secret_of(self, binding: dict[str, Any], secret: dict[str, Any]) -> None:
        meta = binding["metadata"]
        kind = {"apiVersion": SERVICE_BINDINGS.api_version, "kind": SERVICE_BINDINGS.kind}
        owner = {**kind, "name": meta["name"], "uid": meta["uid"], "controller": True}
        name = binding["spec"].get("secretName") or meta["name"]
        if name != meta["name"]:
            return  # a bystander's, or none that can be
        meta = {**secret.get("metadata", {}), "name": name, "ownerReferences": [owner]}
        try:
            self._cluster.request("POST", SECRETS.path(TEAM), {**secret, "metadata": meta})
        except urllib.error.HTTPError as error:
            assert error.code in (400, 422), (error.code, secret)
            return
        (self.sticky if meta.get("finalizers") else self.secrets).append(name)

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
        for name in self.sticky:
            if self._person.get(SECRETS.path(TEAM, name)):
                self._finalizers(SECRETS.path(TEAM, name), None)
                self._person.delete(SECRETS.path(TEAM, name))

    def _finalizers(self, path: str, names: list[str] | None) -> None:
        self._cluster.request("PATCH", path, {"metadata": {"finalizers": names}}, MERGE)


def crowd(cluster: ControlPlane) -> Tenant:
    """Many objects of a tenant."""
    tenant, kinds = Tenant(cluster), Counter[str]()
    for name in filter(None, PATHS):
        references = [{"secretKeyRef": {"name": name, "key": "k"}}]
        watching = {"parametersFrom": references, "watchParametersFromChanges": True}
        spec = {"serviceOfferingName": "o", "servicePlanName": "p", **watching}
        tenant.make(SERVICE_INSTANCES, {"metadata": {"finalizers": []}, "spec": spec}, {})
        bound = {"serviceInstanceName": "i", "secretName": name}
        tenant.make(SERVICE_BINDINGS, {"metadata": {"finalizers": []}, "spec": bound}, {})

    @settings(max_examples=MANY, phases=[Phase.generate])
    @given(SERVICES)
    def make(found: tuple[Resource, dict[str, Any], dict[str, Any]]) -> None:
        tenant.make(*found)
        kinds[found[0].kind] += 1

    make()
    print(f"{len(tenant.held)} objects, {tenant.refused} refused by the API server, {kinds}")
    assert min(kinds.values()) > MANY / 5 and len(tenant.held) > MANY / 2 and tenant.secrets and tenant.sticky
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

        async def going() -> bool:
            found = [await kube.find(SECRETS, name, TEAM) for name in tenant.sticky]
            return all(each is None or each["metadata"].get("deletionTimestamp") for each in found)

        await eventually(going, 120)
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


async def test_a_finalizer_that_is_there_many_times_is_taken_off_by_one_request(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    """The API server takes lists in which a name stands more than once."""
    await ensure_namespace(kube, TEAM)
    many = [*[OPERAND_FINALIZER] * 3, "example.com/theirs", *[OPERAND_FINALIZER] * 2_000]
    for name, finalizers in (("twice", many[:2]), ("many", many)):
        meta = {"name": name, "namespace": TEAM, "finalizers": finalizers}
        kind = {"apiVersion": SERVICE_INSTANCES.api_version, "kind": SERVICE_INSTANCES.kind}
        spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
        await kube.create(SERVICE_INSTANCES, {**kind, "metadata": meta, "spec": spec})
    assert (await kube.get(SERVICE_INSTANCES, "many", TEAM))["metadata"]["finalizers"] == many
    before = patches()
    result = await soft_delete(worker, deletion)
    assert (result.abandoned_total, result.kept) == (2, [])
    (left,) = (await kube.list(SERVICE_INSTANCES)).items
    assert left["metadata"]["finalizers"] == ["example.com/theirs"]
    assert patches() - before == 2
    await free(kube, SERVICE_INSTANCES, left)


@pytest.mark.parametrize(("levels", "opens", "closes"), [(1_100, "[", "]"), (9_000, "[", "]"), (2_000, '{"a":', "}")])
async def test_parameters_nested_deeper_than_python_reads_keep_nothing_from_going(
    control_plane: ControlPlane,
    kube: Kube,
    worker: Kube,
    operand: None,
    deletion: Mandate,
    levels: int,
    opens: str,
    closes: str,
) -> None:
    """The API server takes ten thousand levels. A list or a watch with one is read all the same."""
    await ensure_namespace(kube, TEAM)
    parameters = opens * levels + "1" + closes * levels
    nest(control_plane, "nested", parameters)
    assert (await count(worker, deletion)).instances == 1
    assert (await hard_delete(worker, deletion)).instances == 1
    nest(control_plane, "stubborn", parameters)
    result = await soft_delete(worker, deletion)
    assert [each.name for each in result.abandoned] == ["stubborn"]
    assert (await count(worker, deletion)).none


def nest(cluster: ControlPlane, name: str, parameters: str) -> None:
    """Make an instance with these parameters as a tenant may send it: Python can neither write nor read it."""
    meta = {"name": name, "namespace": TEAM, "finalizers": [OPERAND_FINALIZER]}
    kind = {"apiVersion": SERVICE_INSTANCES.api_version, "kind": SERVICE_INSTANCES.kind}
    spec = {"serviceOfferingName": "o", "servicePlanName": "p", "parameters": {"deep": "HERE"}}
    body = json.dumps({**kind, "metadata": meta, "spec": spec}).replace('"HERE"', parameters)
    cluster.post_text(SERVICE_INSTANCES.path(TEAM), body)


def patches() -> float:
    labels = {"verb": "patch", "kind": SERVICE_INSTANCES.kind, "code": "200"}
    return REGISTRY.get_sample_value("btp_kube_requests_total", labels) or 0
