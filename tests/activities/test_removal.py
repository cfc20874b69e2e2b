"""The activities of deletion at scale and at their edges. Here the operand is a task that takes finalizers off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import pytest
import yaml
from temporalio.exceptions import ApplicationError

from activities.hard_delete import HardDeleteActivities
from activities.service_objects import ServiceObjectActivities
from activities.soft_delete import SoftDeleteActivities
from activities.teardown import TeardownActivities
from kube.answers import Object
from kube.client import Kube
from kube.errors import KubeError, Unavailable
from kube.reflector import Reflector, Source
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    NETWORK_POLICIES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
)
from kube.transport import REQUESTS
from localcluster.controlplane import ControlPlane
from models.deprovision import HardDeleted, HardDeleteInput, Remaining, SoftDeleteResult, TeardownInput, TornDown
from models.mandate import Mandate
from models.names import FIELD_MANAGER, KYMA_NAMESPACE, MANAGED_BY, MANAGED_BY_LABEL, OPERAND_FINALIZER
from operand.service_objects import is_held
from tests.acting import deprovision
from tests.cluster import ensure_namespace
from tests.conftest import OPERAND_CHART, Eventually


async def hard_delete(kube: Kube, deletion: Mandate, seconds: float = 40) -> HardDeleted:
    input = HardDeleteInput(mandate=deletion, attempt=timedelta(seconds=seconds))
    return await deprovision(HardDeleteActivities(kube).hard_delete_service_objects, input)


async def soft_delete(kube: Kube, deletion: Mandate) -> SoftDeleteResult:
    activities, input = SoftDeleteActivities(kube), TeardownInput(mandate=deletion)
    return await deprovision(activities.soft_delete_service_objects, input)


async def remove_resources(kube: Kube, deletion: Mandate) -> TornDown:
    return await deprovision(TeardownActivities(kube).remove_resources, TeardownInput(mandate=deletion))


async def count(kube: Kube, deletion: Mandate) -> Remaining:
    return await deprovision(ServiceObjectActivities(kube).count_service_objects, deletion)


@pytest.fixture
async def service_kinds(kube: Kube, eventually: Eventually) -> None:
    """The CRDs of the operand, and nothing else of it."""
    for file in (OPERAND_CHART / "crds").iterdir():
        crd = yaml.safe_load(file.read_text())
        crd["metadata"]["labels"] = {MANAGED_BY_LABEL: MANAGED_BY}
        await kube.apply(CUSTOM_RESOURCE_DEFINITIONS, crd)
    for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS):

        async def served(kind: Resource = resource) -> bool:
            with contextlib.suppress(KubeError):
                await kube.list(kind)
                return True
            return False

        await eventually(served)


@pytest.fixture
async def operand(kube: Kube, service_kinds: None) -> AsyncIterator[None]:
    """Takes its finalizer off whatever is being deleted, and notes an instance that still has a binding of its own."""
    too_early: list[str] = []
    working: set[asyncio.Task[None]] = set()
    room = asyncio.Semaphore(8)

    async def let_go(resource: Resource, meta: Object) -> None:
        async with room:
            if resource is SERVICE_INSTANCES:
                bindings = (await kube.list(SERVICE_BINDINGS, meta["namespace"])).items
                mine = [each for each in bindings if each["spec"]["serviceInstanceName"] == meta["name"]]
                too_early.extend(meta["name"] for _ in filter(is_held, mine))
            await kube.merge(resource, meta["name"], meta["namespace"], {"metadata": {"finalizers": None}})

    async def follow(resource: Resource) -> None:
        async for change in Reflector(kube, Source(resource, lambda obj: obj["metadata"])).changes():
            meta = change.after
            if meta and meta.get("deletionTimestamp") and OPERAND_FINALIZER in (meta.get("finalizers") or []):
                working.add(asyncio.create_task(let_go(resource, meta)))

    tasks = [asyncio.create_task(follow(resource)) for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, *working, return_exceptions=True)
    assert not too_early, "an instance was asked to go before its own last binding was gone"


async def seed(kube: Kube, namespaces: int, each: int) -> None:
    """So many pairs of an instance and a binding in each namespace, held as the operand holds them."""
    room = asyncio.Semaphore(24)

    async def pair(namespace: str, number: int) -> None:
        async with room:
            meta = {"name": f"i{number}", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
            spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
            await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, spec))
            meta = {"name": f"b{number}", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
            spec = {"serviceInstanceName": f"i{number}", "secretName": f"s{number}"}
            binding = await kube.create(SERVICE_BINDINGS, _object(SERVICE_BINDINGS, meta, spec))
            await kube.delete(SECRETS, f"s{number}", namespace)  # of an earlier test, for the garbage collector is slow
            await kube.create(SECRETS, _secret(binding, f"s{number}"))

    names = [await ensure_namespace(kube, f"many-{number}") for number in range(namespaces)]
    await asyncio.gather(*(pair(name, number) for name in names for number in range(each)))


async def test_nothing_to_delete_takes_two_requests_with_or_without_the_crds(
    kube: Kube, operand: None, deletion: Mandate
) -> None:
    removed = await hard_delete(kube, deletion)
    assert removed.bindings == removed.instances == 0


async def test_without_the_crds_there_is_nothing_to_delete(kube: Kube, deletion: Mandate) -> None:
    assert (await hard_delete(kube, deletion)).instances == 0
    remaining = await count(kube, deletion)
    assert remaining.none and remaining.operand_lost
    result = await soft_delete(kube, deletion)
    assert result.abandoned_total == 0


@pytest.mark.parametrize(("namespaces", "each"), [(1, 1), (50, 10)])
async def test_hard_delete_asks_by_namespace_and_looks_once_at_each_secret(
    kube: Kube, operand: None, deletion: Mandate, namespaces: int, each: int
) -> None:
    await seed(kube, namespaces, each)
    remaining = await count(kube, deletion)
    total = namespaces * each
    assert (remaining.bindings, remaining.instances) == (total, total)
    before = requests()
    removed = await hard_delete(kube, deletion)
    sent = {verb: count - before.get(verb, 0) for verb, count in requests().items()}
    assert (removed.bindings, removed.instances) == (total, total)
    assert sent["deletecollection"] <= 2 * namespaces + 4
    assert sent["get Secret"] <= total
    assert (await count(kube, deletion)).none
    assert not [s for s in (await kube.list(SECRETS)).items if s["metadata"]["namespace"].startswith("many-")]


async def test_what_is_left_when_an_attempt_ends_is_counted_and_named(
    kube: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 2, 3)
    with pytest.raises(ApplicationError, match=r"6 ServiceBindings left: many-0/b0, many-0/b1, many-0/b2") as error:
        await hard_delete(kube, deletion, seconds=2)
    assert not error.value.non_retryable
    assert (await count(kube, deletion)).instances == 6


async def test_what_only_a_finalizer_of_somebody_else_keeps_is_named_and_not_waited_for(
    kube: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 2)
    theirs = {"metadata": {"finalizers": ["example.com/theirs"]}}
    await kube.merge(SERVICE_BINDINGS, "b0", "many-0", theirs)
    await kube.merge(SERVICE_INSTANCES, "i0", "many-0", theirs)
    await kube.delete(SERVICE_BINDINGS, "b0", "many-0")
    removed = await hard_delete(kube, deletion)
    assert (removed.bindings, removed.instances) == (1, 1)
    assert removed.kept == [
        "ServiceBinding many-0/b0 (kept by example.com/theirs)",
        "ServiceInstance many-0/i0 (kept by example.com/theirs)",
    ]
    remaining = await count(kube, deletion)
    assert (remaining.bindings, remaining.instances, remaining.some) == (1, 1, removed.kept)


async def test_an_object_made_while_the_deletion_runs_is_deleted_too(
    kube: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 20)
    deleting = asyncio.create_task(hard_delete(kube, deletion))
    await asyncio.sleep(0.2)
    late = await ensure_namespace(kube, "made-meanwhile")
    spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
    meta = {"name": "late", "namespace": late, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, spec))
    await deleting
    assert (await count(kube, deletion)).none


async def test_soft_delete_takes_two_requests_for_an_object_and_names_each(
    kube: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 50, 10)
    before = requests()
    result = await soft_delete(kube, deletion)
    sent = sum(count - before.get(verb, 0) for verb, count in requests().items() if verb != "get Secret")
    looks = requests()["get Secret"] - before.get("get Secret", 0)
    assert result.abandoned_total == 1000 and len(result.abandoned) == 100
    assert (result.removed.bindings, result.removed.instances) == (500, 500)
    assert looks <= 500 and sent + looks <= 2 * 1500  # instances, bindings and Secrets
    assert (await count(kube, deletion)).none
    lines = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
    assert lines["total"] == "1000" and len(lines["objects.jsonl"].splitlines()) == 1000


async def test_soft_delete_killed_anywhere_goes_on_and_reports_all(
    kube: Kube, service_kinds: None, deletion: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(kube, 3, 4)
    patch = kube.json_patch
    tried = 0

    async def dies(*args: object, **kwargs: object) -> Object:
        nonlocal tried
        tried += 1
        if tried % 4 == 0:
            raise Unavailable("killed")
        return await patch(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(kube, "json_patch", dies)
    attempts = 0
    while True:
        attempts += 1
        try:
            result = await soft_delete(kube, deletion)
            break
        except ApplicationError as error:
            assert not error.non_retryable and attempts < 50
    assert attempts > 2
    assert result.abandoned_total == len(result.abandoned) == 24  # not only what the last attempt let go
    data = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
    assert data["total"] == "24" and (await count(kube, deletion)).none


async def test_soft_delete_leaves_finalizers_and_secrets_of_others_alone(
    kube: Kube, service_kinds: None, deletion: Mandate
) -> None:
    namespace = await ensure_namespace(kube, "mixed")
    theirs = [OPERAND_FINALIZER, "example.com/theirs"]
    meta = {"name": "kept", "namespace": namespace, "finalizers": theirs}
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, _instance_spec()))
    binding_meta = {"name": "plain", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_BINDINGS, _object(SERVICE_BINDINGS, binding_meta, {"serviceInstanceName": "kept"}))
    await kube.create(SECRETS, {"metadata": {"name": "plain", "namespace": namespace}})
    watched = {"name": "parameters", "namespace": namespace, "finalizers": theirs[::-1]}
    await kube.create(SECRETS, {"metadata": watched})
    references = [{"secretKeyRef": {"name": "parameters", "key": "k"}}]
    spec = _instance_spec() | {"parametersFrom": references, "watchParametersFromChanges": True}
    watcher = {"name": "watcher", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, watcher, spec))

    result = await soft_delete(kube, deletion)
    kept = await kube.get(SERVICE_INSTANCES, "kept", namespace)
    assert kept["metadata"]["finalizers"] == ["example.com/theirs"]
    assert [entry.kept_by for entry in result.abandoned if entry.name == "kept"] == [["example.com/theirs"]]
    assert await kube.find(SECRETS, "plain", namespace)
    parameters = await kube.get(SECRETS, "parameters", namespace)
    assert parameters["metadata"]["finalizers"] == ["example.com/theirs"]
    assert "deletionTimestamp" not in parameters["metadata"]
    await kube.merge(SECRETS, "parameters", namespace, {"metadata": {"finalizers": None}})
    for name in ("plain", "parameters"):
        await kube.delete(SECRETS, name, namespace)


async def test_names_of_an_earlier_chart_are_found_and_neither_the_users_nor_our_own(
    kube: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
) -> None:
    ours = {MANAGED_BY_LABEL: MANAGED_BY}
    role = {"metadata": {"name": "sap-btp-operator-proxy-role", "labels": ours}}
    control_plane.request("POST", f"{CLUSTER_ROLES.path()}?fieldManager=kubectl", role)  # whoever wrote it last
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}
    meta = {"name": "no-name-of-ours", "namespace": KYMA_NAMESPACE, "labels": ours}
    await kube.apply(NETWORK_POLICIES, policy | {"metadata": meta})
    theirs = {"name": "a-person-s", "namespace": KYMA_NAMESPACE, "labels": ours}
    path = CONFIG_MAPS.path(KYMA_NAMESPACE)
    control_plane.request("POST", f"{path}?fieldManager=kubectl", {"metadata": theirs})

    removed = await remove_resources(kube, deletion)
    assert removed.resources == 3  # the role and two CRDs
    assert await kube.find(CLUSTER_ROLES, "sap-btp-operator-proxy-role") is None
    (passed_over,) = removed.passed_over
    assert passed_over.startswith(
        f"NetworkPolicy {KYMA_NAMESPACE}/no-name-of-ours was left alone: it carries our label"
    )
    assert await kube.find(BTP_OPERATORS, deletion.ref.name, deletion.ref.namespace)
    assert await kube.find(CUSTOM_RESOURCE_DEFINITIONS, "btpoperators.operator.kyma-project.io")
    assert await kube.delete(CONFIG_MAPS, "a-person-s", KYMA_NAMESPACE)
    assert await kube.delete(NETWORK_POLICIES, "no-name-of-ours", KYMA_NAMESPACE)
    again = await remove_resources(kube, deletion)
    assert again.resources == 0 and FIELD_MANAGER == "btp-manager"


def requests() -> dict[str, float]:
    """Requests of this process so far; looks at Secrets apart, watches and the seeding's own verbs left in."""
    found: dict[str, float] = {}
    for metric in REQUESTS.collect():
        for sample in metric.samples:
            verb, kind = sample.labels.get("verb", ""), sample.labels.get("kind")
            if sample.name.endswith("_total") and verb != "watch":
                name = "get Secret" if (verb, kind) == ("get", "Secret") else verb
                found[name] = found.get(name, 0) + sample.value
    return found


def _instance_spec() -> dict[str, object]:
    return {"serviceOfferingName": "o", "servicePlanName": "p"}


def _object(resource: Resource, meta: Mapping[str, object], spec: Mapping[str, object]) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}


def _secret(binding: Object, name: str) -> Object:
    meta = binding["metadata"]
    owner = {
        "apiVersion": SERVICE_BINDINGS.api_version,
        "kind": SERVICE_BINDINGS.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    return {"metadata": {"name": name, "namespace": meta["namespace"], "ownerReferences": [owner]}}
