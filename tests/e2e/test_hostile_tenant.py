"""What a tenant may write who wants to block a deletion, or have others pay: under exactly the rights of the chart.

Names that lead elsewhere, finalizers without end, objects as large as etcd takes. Each concerns its own object only.
"""

import asyncio
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from kube.client import Kube
from kube.resources import MUTATING_WEBHOOKS, SERVICE_INSTANCES, VALIDATING_WEBHOOKS, Resource
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from localcluster.shipped import MANAGER_CHART, RELEASE, helm
from models.deprovision import DeletionMode
from models.names import OPERAND_CREDENTIALS_SECRET, OPERAND_FINALIZER
from tests.e2e.deletion import Scene
from tests.e2e.memory import within_the_limits_of_the_chart

pytestmark = pytest.mark.long

OPERATOR = "/apis/operator.kyma-project.io/v1alpha1/namespaces/kyma-system/btpoperators/btpoperator"
MERGE = "application/merge-patch+json"
ELSEWHERE = ("a/b", "..", ".", "?", "a%2Fb", "../../victim/secrets/crown", "?limit=1&x=", "x" * 300)
"""Names of Secrets that are none, or would be another request if a path were made of them."""
VICTIM = "/api/v1/namespaces/victim/secrets"
MANY = 10_000


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    settings = {"BTP_HARD_DELETE_TIMEOUT": "20s", "BTP_DELETE_REQUEST_TIMEOUT": "30s"}
    with ServiceManager() as sap, Environment(settings) as environment:
        scene = Scene(environment, sap)
        scene.person.ensure_namespace("victim")
        for name in ("crown", "v"):
            scene.person.put_secret({"a": "b"}, name, "victim")
            body = {"metadata": {"finalizers": [OPERAND_FINALIZER]}}
            environment.cluster.request("PATCH", f"{VICTIM}/{name}", body, MERGE)
        yield scene


def victims(scene: Scene) -> list[Any]:
    """The Secrets that are nobody's business, as they are now."""
    return [scene.person.get(f"{VICTIM}/{name}") for name in ("crown", "v")]


def lead_elsewhere(scene: Scene) -> None:
    """Bindings and an instance whose references are no names."""
    scene.person.ensure_namespace("team-z")
    for number, name in enumerate(ELSEWHERE):
        scene.person.create_binding("team-z", f"odd-{number}", "no-such-instance", secretName=name)
    references = [{"secretKeyRef": {"name": name, "key": "k"}} for name in ("../../victim/secrets/v", *ELSEWHERE)]
    scene.person.create_instance("team-z", "odd", parametersFrom=references, watchParametersFromChanges=True)

    def held() -> bool:
        objects = [obj for obj in scene.person.service_objects() if obj["metadata"]["namespace"] == "team-z"]
        return all(OPERAND_FINALIZER in (obj["metadata"].get("finalizers") or []) for obj in objects)

    scene.until(held, "the operand to hold them")


async def test_names_that_lead_elsewhere_neither_end_a_hard_delete_nor_reach_anything(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    lead_elsewhere(scene)
    before = victims(scene)
    scene.delete()
    scene.nothing_left()
    result = await scene.result()
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0), result
    assert scene.sap.instances == scene.sap.bindings == scene.reported() == {}
    assert victims(scene) == before and all(before)


async def test_names_that_lead_elsewhere_are_let_go_like_others(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    lead_elsewhere(scene)
    before = victims(scene)
    assert scene.operand is not None
    scene.operand.kill()
    scene.delete()
    scene.nothing_left()
    result = await scene.result()
    assert (result.mode, result.abandoned_total) == (DeletionMode.SOFT, 4 + len(ELSEWHERE) + 1)
    assert {"team-z/odd", "team-z/odd-0", "team-a/instance-0"} < set(scene.reported())
    assert victims(scene) == before and all(before)


def grant(scene: Scene, namespaces: str) -> None:
    values = f"credentialsNamespaces={namespaces}"
    helm(scene.environment.cluster, "upgrade", RELEASE, MANAGER_CHART, "--reuse-values", "--set", values)


def may_remove(scene: Scene, path: str) -> bool:
    """Whether the worker may delete it; a changed policy takes a moment to take effect."""
    try:
        scene.environment.cluster.request("DELETE", f"{path}?dryRun=All", user=f"{RELEASE}-worker")
    except urllib.error.HTTPError:
        return False
    return True


async def test_credentials_where_the_right_to_remove_them_was_taken_away_are_named_until_it_is_given_back(
    scene: Scene,
) -> None:
    scene.person.ensure_namespace("locked")
    grant(scene, "{locked}")
    scene.ready()
    scene.person.put_secret(scene.sap.credentials() | {"credentials_namespace": "locked"})
    scene.until(lambda: scene.secret("locked", OPERAND_CREDENTIALS_SECRET), "the credentials to move")
    grant(scene, "{}")
    moved = f"/api/v1/namespaces/locked/secrets/{OPERAND_CREDENTIALS_SECRET}"
    scene.until(lambda: not may_remove(scene, moved), "the policy to refuse")
    scene.person.delete_operator("btpoperator")
    scene.says(
        "ResourceRemovalFailed", "Secret locked/sap-btp-service-operator cannot be removed", "forbidden", seconds=60
    )
    grant(scene, "{locked}")
    scene.until(lambda: may_remove(scene, moved), "the policy to allow")
    scene.environment.cluster.request("PATCH", OPERATOR, {"metadata": {"labels": {"look": "again"}}}, MERGE)
    scene.gone()
    scene.nothing_left()
    assert scene.secret("locked", OPERAND_CREDENTIALS_SECRET) is None


def finalizers(number: int) -> list[str]:
    """376 KB of them."""
    return [OPERAND_FINALIZER, *(f"example.com/{number}-{each:05}-{'x' * 47}" for each in range(5_300))]


@pytest.mark.load
@pytest.mark.timeout(400)
async def test_finalizers_without_end_keep_their_own_objects_only_and_every_abandoned_one_is_reported(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    set_webhooks_aside(scene)
    for number in range(21):
        meta = {"name": f"sticky-{number}", "finalizers": finalizers(number)}
        create(scene, SERVICE_INSTANCES, "team-z", meta, {})
    resume(scene)
    scene.person.delete_operator("btpoperator")
    # That they stay, and their kind with them, is by design: the CR says so.
    scene.says("ResourceRemovalFailed", "ServiceInstance team-z/sticky", seconds=120)
    assert len(scene.message()) < 4_000
    assert len(scene.reported()) == 4 + 21
    assert {"team-a/instance-0", "team-a/binding-1"} < set(scene.reported())
    kept = scene.person.get(SERVICE_INSTANCES.path("team-z", "sticky-7")) or {}
    assert kept["metadata"]["finalizers"] == finalizers(7)[1:]
    for number in range(21):
        path = SERVICE_INSTANCES.path("team-z", f"sticky-{number}")
        scene.environment.cluster.request("PATCH", path, {"metadata": {"finalizers": None}}, MERGE)
    scene.environment.cluster.request(
        "PATCH",
        "/apis/operator.kyma-project.io/v1alpha1/namespaces/kyma-system/btpoperators/btpoperator",
        {"metadata": {"labels": {"look": "again"}}},
        MERGE,
    )
    scene.gone()
    scene.nothing_left()
    within_the_limits_of_the_chart(
        scene.environment.workers + scene.environment.triggers, "21 instances with 376 KB of finalizers"
    )


def boxes(size: int) -> list[Any]:
    """Lists in a list: so many bytes of JSON, and twenty times as many once decoded."""
    return [[] for _ in range(size // 3)]


@pytest.mark.load
@pytest.mark.timeout(400)
async def test_objects_as_large_as_etcd_takes_are_deleted_like_small_ones(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    create_large_ones(scene)
    mandate = scene.mandate()
    scene.person.delete_operator("btpoperator")
    await scene.give_more_time(mandate)  # the objects' size is in question here, not the speed of a busy machine
    scene.gone(seconds=240)
    scene.nothing_left()
    result = await scene.result()
    assert (result.mode, result.abandoned_total) == (DeletionMode.HARD, 0), result
    assert scene.sap.instances == {}
    within_the_limits_of_the_chart(
        scene.environment.workers + scene.environment.triggers, "25 instances of 1 MB, hard delete"
    )


@pytest.mark.load
@pytest.mark.timeout(400)
async def test_objects_as_large_as_etcd_takes_are_let_go_like_small_ones(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    create_large_ones(scene)
    scene.delete(seconds=240)
    scene.nothing_left()
    assert (await scene.result()).abandoned_total == 27 + 2
    within_the_limits_of_the_chart(
        scene.environment.workers + scene.environment.triggers, "25 instances of 1 MB, soft delete"
    )


@pytest.mark.load
@pytest.mark.timeout(600)
async def test_ten_thousand_small_ones_are_let_go_and_reported(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.ready()
    assert scene.operand is not None
    scene.operand.kill()
    set_webhooks_aside(scene)
    monkeypatch.setenv("KUBECONFIG", str(scene.environment.cluster.kubeconfig()))
    kube = await Kube.from_environment()
    scene.person.ensure_namespace("team-z")
    room = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        meta = {"name": f"small-{number}", "namespace": "team-z", "finalizers": [OPERAND_FINALIZER]}
        async with room:
            await kube.create(SERVICE_INSTANCES, instance(meta, {}))

    try:
        await asyncio.gather(*(make(number) for number in range(MANY)))
    finally:
        await kube.close()
    resume(scene)
    await asyncio.to_thread(scene.delete, seconds=420)
    scene.nothing_left()
    assert (await scene.result()).abandoned_total == MANY
    within_the_limits_of_the_chart(
        scene.environment.workers + scene.environment.triggers, f"{MANY} small instances, soft delete"
    )


def create_large_ones(scene: Scene) -> None:
    set_webhooks_aside(scene)
    for number in range(25):
        meta = {"name": f"large-{number}", "finalizers": [OPERAND_FINALIZER]}
        create(scene, SERVICE_INSTANCES, "team-z", meta, {"parameters": {"boxes": boxes(1_000_000)}})
    resume(scene)


def create(scene: Scene, resource: Resource, namespace: str, meta: dict[str, Any], spec: dict[str, Any]) -> None:
    scene.person.ensure_namespace(namespace)
    try:
        scene.environment.cluster.request("POST", resource.path(namespace), instance(meta, spec))
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


def instance(meta: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": SERVICE_INSTANCES.api_version,
        "kind": SERVICE_INSTANCES.kind,
        "metadata": meta,
        "spec": {"serviceOfferingName": "offering", "servicePlanName": "plan", **spec},
    }


def set_webhooks_aside(scene: Scene) -> None:
    """Objects can be made while no operand answers, as long as nobody puts its webhooks back."""
    scene.environment.workers[0].stop()
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        for obj in (scene.person.get(resource.path()) or {})["items"]:
            scene.person.delete(resource.path(name=obj["metadata"]["name"]))


def resume(scene: Scene) -> None:
    scene.environment.workers[0].start()
    scene.environment.workers[0].wait_ready()
