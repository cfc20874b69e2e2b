"""Deletions whose world changes meanwhile: nothing is destroyed that is not asked for, nothing abandoned untried."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from kube.resources import CONFIG_MAPS, NAMESPACES
from localcluster.environment import Environment
from localcluster.faults import Fault
from localcluster.servicemanager import ServiceManager
from models.deprovision import DeletionMode, ReleaseKind
from models.names import KYMA_NAMESPACE, OPERAND_CONFIG
from tests.e2e.deletion import Scene

pytestmark = pytest.mark.long

BUDGET = 25.0
SETTINGS = {
    "BTP_HARD_DELETE_TIMEOUT": f"{BUDGET:.0f}s",
    "BTP_LAST_ATTEMPT": "20s",
    "BTP_DELETE_REQUEST_TIMEOUT": "20s",
}
OPERATOR = "/apis/operator.kyma-project.io/v1alpha1/namespaces/kyma-system/btpoperators/btpoperator"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/btp-manager-worker"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment(SETTINGS, workers=2, faults=True) as environment:
        yield Scene(environment, sap)


@pytest.fixture(autouse=True)
def no_faults(scene: Scene) -> Iterator[None]:
    yield
    scene.environment.proxy.clear()
    scene.sap.refused.clear()


async def test_a_deletion_whose_finalizer_is_removed_by_hand_ends_and_leaves_the_next_installation_alone(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    scene.sap.refused.add("instance-0")
    scene.person.delete_operator("btpoperator")
    scene.says("HardDeleting", "1 ServiceInstance")
    stripped = datetime.now(UTC)
    scene.environment.cluster.request("PATCH", OPERATOR, {"metadata": {"finalizers": None}}, MERGE)
    scene.gone()
    result = await scene.result(ReleaseKind.MANDATE_LOST)
    assert result.began is not None  # by Temporal's clock, which is this machine's
    assert result.began + timedelta(seconds=result.seconds) - stripped < timedelta(seconds=5)
    assert "btpoperator is gone" in result.lost_because and result.abandoned_total == 0
    scene.person.create_operator("btpoperator")
    scene.until(lambda: scene.state() == "Ready", "the new CR to be Ready")
    scene.patiently(lambda: scene.person.create_instance("team-a", "brand-new"))
    scene.until(lambda: any(each["name"] == "brand-new" for each in scene.sap.instances.values()), "SAP to have it")
    installed = scene.person.managed_objects()
    ends = time.monotonic() + BUDGET + 5  # the old run would have gone soft by then
    while time.monotonic() < ends:
        assert scene.state() == "Ready" and scene.person.managed_objects() == installed
        await asyncio.sleep(0.5)
    assert any(each["name"] == "brand-new" for each in scene.sap.instances.values())
    assert scene.reported() == {}
    scene.sap.refused.clear()
    scene.delete()
    scene.nothing_left()


async def test_a_quarter_of_a_minute_of_401_and_a_single_403_abandon_nothing(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    scene.environment.proxy.faults.append(Fault(("GET",), "servicebindings", status=403, times=1))
    scene.person.delete_operator("btpoperator")
    scene.says("HardDeleting", "soft delete follows")
    unauthorized = Fault(status=401)
    scene.environment.proxy.faults.append(unauthorized)
    for worker in scene.environment.workers:  # attempts begin anew while nothing is answered
        assert worker.process is not None
        worker.process.kill()
        worker.start()
    await asyncio.sleep(8)
    scene.environment.proxy.clear()
    scene.operand = scene.environment.start_operand()
    scene.gone()
    scene.nothing_left()
    result = await scene.result()
    assert (scene.sap.instances, scene.reported(), result.mode) == ({}, {}, DeletionMode.HARD)


async def test_a_right_that_is_missing_for_a_while_is_named_and_hard_delete_goes_on_when_it_is_there(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    role = scene.person.get(ROLE)
    assert role is not None
    without = {
        "rules": [
            rule
            for rule in role["rules"]
            if rule["apiGroups"] != ["services.cloud.sap.com"] or "delete" not in rule["verbs"]
        ]
    }
    assert len(without["rules"]) == len(role["rules"]) - 1
    look = {"apiGroups": ["services.cloud.sap.com"], "resources": ["servicebindings", "serviceinstances"]}
    without["rules"].append({**look, "verbs": ["list", "watch", "patch"]})
    scene.environment.cluster.request("PATCH", ROLE, without, MERGE)
    try:
        scene.person.delete_operator("btpoperator")
        scene.says("HardDeleting", "not accepted", "forbidden", "soft delete follows")
        await asyncio.sleep(5)
        assert scene.reason() == "HardDeleting" and len(scene.sap.instances) == 2
    finally:
        scene.environment.cluster.request("PATCH", ROLE, {"rules": role["rules"]}, MERGE)
    scene.gone()
    scene.nothing_left()
    result = await scene.result()
    assert (scene.sap.instances, scene.reported(), result.mode) == ({}, {}, DeletionMode.HARD)


async def test_a_budget_in_which_no_worker_ran_is_followed_by_a_real_try(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    scene.sap.latency = 3.0
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: scene.reason() == "HardDeleting", "hard delete to begin")
    for worker in scene.environment.workers:
        assert worker.process is not None
        worker.process.kill()
    assert scene.operand is not None
    scene.operand.kill()
    await asyncio.sleep(BUDGET + 3)
    scene.sap.latency = 0.0
    for worker in scene.environment.workers:
        worker.start()
    for worker in scene.environment.workers:
        worker.wait_ready()
    await asyncio.sleep(3)  # who gives up without a try has done it by now
    scene.operand = scene.environment.start_operand()
    scene.gone()
    scene.nothing_left()
    result = await scene.result()
    assert (scene.sap.instances, scene.reported(), result.mode) == ({}, {}, DeletionMode.HARD)


async def test_a_cluster_that_sleeps_through_the_deadline_abandons_nothing(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: scene.reason() == "HardDeleting", "hard delete to begin")
    scene.environment.cluster.stop_apiserver()
    await asyncio.sleep(BUDGET + 5)
    scene.environment.cluster.start_apiserver()
    scene.operand = scene.environment.start_operand()
    scene.gone(seconds=120)
    scene.nothing_left()
    result = await scene.result()
    assert (scene.sap.instances, scene.reported(), result.mode) == ({}, {}, DeletionMode.HARD)


async def test_lost_managed_fields_do_not_keep_a_deletion_from_ending(scene: Scene) -> None:
    scene.ready()
    for manager in (*scene.environment.workers, *scene.environment.triggers):
        manager.stop()
    for path in scene.person.managed_paths():
        scene.environment.cluster.request("PATCH", path, {"metadata": {"managedFields": [{}]}}, MERGE)
    scene.person.delete_operator("btpoperator")
    for manager in (*scene.environment.workers, *scene.environment.triggers):
        manager.start()
    scene.gone(seconds=60)
    scene.nothing_left()


async def test_what_is_refused_in_a_removal_stands_on_the_cr_while_it_is_tried_again(scene: Scene) -> None:
    scene.ready()
    scene.environment.proxy.add(Fault(("DELETE",), "/validatingwebhookconfigurations/", status=500))
    scene.person.delete_operator("btpoperator")
    scene.says("HardDeleting", "ValidatingWebhookConfiguration", "cannot be removed", "injected (500)", seconds=18)
    scene.environment.proxy.clear()
    scene.gone()
    scene.nothing_left()
    await scene.settled()


async def test_a_frozen_worker_that_thaws_writes_nothing_for_a_cr_that_is_gone(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    scene.environment.workers[1].stop()
    frozen = scene.environment.workers[0].process
    assert frozen is not None
    scene.sap.latency = 2.0
    mandate = scene.mandate()
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: scene.reason() == "HardDeleting", "hard delete to begin")
    await scene.give_more_time(mandate)  # the other worker has yet to start, on a machine that may be slow
    frozen.freeze()
    try:
        scene.environment.workers[1].start()
        scene.sap.latency = 0.0
        scene.gone(seconds=60)
        scene.person.create_operator("btpoperator")
        scene.until(lambda: scene.state() == "Ready", "the new CR to be Ready", 60)
        scene.patiently(lambda: scene.person.create_instance("team-a", "brand-new"))
        scene.until(lambda: len(scene.sap.instances) == 1, "SAP to have it")
        installed = scene.person.managed_objects()
        scene.environment.proxy.writes.clear()
    finally:
        frozen.thaw()
    await asyncio.sleep(8)
    assert scene.state() == "Ready" and scene.person.managed_objects() == installed
    assert len(scene.sap.instances) == 1
    assert [write for write in scene.environment.proxy.writes if write.startswith("DELETE")] == []
    scene.delete()


async def test_a_node_that_dies_keeps_neither_soft_delete_nor_the_cr(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    scene.environment.cluster.stop_node()
    try:
        began = time.monotonic()
        scene.person.delete_operator("btpoperator")
        scene.gone(seconds=BUDGET + 60)
        assert time.monotonic() - began < BUDGET + 60
        result = await scene.result()
        assert any(each.startswith("Pod kyma-system/") for each in result.passed_over)
        assert len(scene.reported()) == 4
    finally:
        scene.environment.cluster.start_node()
    scene.until(lambda: scene.person.managed_objects() == [], "the pod to be gone")


@pytest.mark.timeout(240)
async def test_an_object_that_admission_guards_keeps_no_other_and_is_never_called_abandoned(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2, "team-b": 1})
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rule = {
        "apiGroups": ["services.cloud.sap.com"],
        "apiVersions": ["v1"],
        "operations": ["DELETE", "UPDATE"],
        "resources": ["serviceinstances"],
    }
    guarded = "oldObject.metadata.name != 'instance-0' || oldObject.metadata.namespace != 'team-a'"
    policy = {
        "metadata": {"name": "guard"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": guarded, "message": "guarded by us", "reason": "Forbidden"}],
        },
    }
    binding = {"metadata": {"name": "guard"}, "spec": {"policyName": "guard", "validationActions": ["Deny"]}}
    scene.environment.cluster.request("POST", f"{policies}ies", policy)
    scene.environment.cluster.request("POST", f"{policies}ybindings", binding)
    await asyncio.sleep(1)  # the API server takes a moment to know its policies
    try:
        scene.person.delete_operator("btpoperator")
        scene.until(lambda: len(scene.sap.instances) == 1, "the others to go, each by itself")
        scene.says("HardDeleting", "team-a/instance-0", "guarded by us")
        scene.says("SoftDeleting", "cannot be let go: ServiceInstance team-a/instance-0", "guarded by us", seconds=60)
        assert scene.reported() == {}
        scene.says("ResourceRemovalFailed", "CustomResourceDefinition serviceinstances", seconds=60)
        assert scene.reported() == {}  # it was tried once more, and kept once more
    finally:
        scene.person.delete(f"{policies}ybindings/guard")
        scene.person.delete(f"{policies}ies/guard")
    scene.environment.cluster.request("PATCH", OPERATOR, {"metadata": {"labels": {"look": "again"}}}, MERGE)
    scene.gone(seconds=90)
    scene.nothing_left()
    assert list(scene.reported()) == ["team-a/instance-0"]


@pytest.fixture
def omnipotent() -> Iterator[Scene]:
    """A worker that keeps its rights: the shipped ones in kyma-system are Roles, and go with the namespace."""
    reason = "the namespace takes the worker's Roles with it"
    with ServiceManager() as sap, Environment(SETTINGS, administrator=reason) as environment:
        yield Scene(environment, sap)


async def test_a_cr_deleted_with_its_namespace_goes_and_names_elsewhere_what_it_abandons(omnipotent: Scene) -> None:
    scene = omnipotent
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    scene.person.delete(NAMESPACES.path(name=KYMA_NAMESPACE))
    scene.until(lambda: scene.person.get(NAMESPACES.path(name=KYMA_NAMESPACE)) is None, "the namespace to go", 90)
    result = await scene.result()
    assert (result.mode, result.abandoned_total) == (DeletionMode.SOFT, 4)
    events = scene.person.get("/api/v1/namespaces/default/events") or {}
    told = " ".join(event["message"] for event in events["items"] if event["reason"] == "ServiceObjectsAbandoned")
    for kind in ("ServiceBinding team-a/binding-0", "ServiceInstance team-a/instance-1"):
        assert kind in told
    assert scene.person.managed_objects() == []
    assert scene.person.get(CONFIG_MAPS.path(KYMA_NAMESPACE, OPERAND_CONFIG)) is None
