"""Deletion, with a stand-in operand whose webhooks the API server really calls, and a stand-in Service Manager."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from urllib.error import HTTPError

import pytest

from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.deprovision import DeletionMode
from models.limits import OperandTeardown
from models.names import OPERAND_DEPLOYMENT, OPERAND_FINALIZER, PREVENT_DELETION_ANNOTATION
from tests.e2e.deletion import Scene

BUDGET = 12.0


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    settings = {
        "BTP_HARD_DELETE_TIMEOUT": f"{BUDGET:.0f}s",
        "BTP_LAST_ATTEMPT": "20s",  # follows where a busy machine takes longer than the budget to start a worker
        "BTP_DELETE_REQUEST_TIMEOUT": "24s",
    }
    with ServiceManager() as sap, Environment(settings) as environment:
        yield Scene(environment, sap)


async def test_with_a_healthy_operand_nothing_is_left_in_sap_and_no_instance_was_refused_for_its_bindings(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 4, "team-b": 3}, secretName="credentials-of-mine")  # the second of a name is Blocked
    scene.delete()
    scene.nothing_left()
    assert (scene.sap.instances, scene.sap.bindings, scene.sap.refusals_for_bindings) == ({}, {}, 0)
    assert scene.secret("team-a", "credentials-of-mine") is None
    assert scene.reported() == {}
    result = await scene.result()
    assert result.mode is DeletionMode.HARD and result.abandoned_total == 0
    assert (result.removed.bindings, result.removed.instances) == (7, 7)


async def test_with_nothing_to_delete_the_operand_goes_first_and_soon(scene: Scene) -> None:
    scene.ready()
    scene.delete(seconds=10)
    scene.nothing_left()
    assert (await scene.result()).mode is DeletionMode.HARD


async def test_with_a_dead_operand_all_is_let_go_after_the_budget_and_reported_by_name(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 3, "team-b": 2})
    scene.person.put_secret({"mine": "1"}, name="instance-0", namespace="team-a")
    ids = {made["name"]: made["id"] for made in scene.sap.instances.values() if made["name"] == "instance-2"}
    assert scene.operand is not None
    scene.operand.kill()
    began = time.monotonic()
    scene.delete()
    assert BUDGET - 2 < time.monotonic() - began < BUDGET + 60
    scene.nothing_left()
    assert len(scene.sap.instances) == len(scene.sap.bindings) == 5  # nobody told SAP
    reported = scene.reported()
    assert len(reported) == 10
    assert reported["team-a/instance-2"]["sap_id"] == ids["instance-2"]
    assert scene.secret("team-a", "binding-0") is None
    assert scene.secret("team-a", "instance-0") is not None  # somebody else's
    result = await scene.result()
    assert result.mode is DeletionMode.SOFT and result.abandoned_total == 10
    assert (
        f"not done within {BUDGET:.0f}s" in result.hard_delete_ended
        and "5 ServiceBindings left" in result.hard_delete_ended
    )
    events = scene.person.get("/api/v1/namespaces/kyma-system/events") or {}
    told = [event["message"] for event in events["items"] if event["reason"] == "ServiceObjectsAbandoned"]
    assert told and "10 service objects may live on in SAP BTP" in told[-1]


@pytest.mark.long
async def test_webhooks_that_are_dead_before_anything_was_asked_are_named_while_it_waits(scene: Scene) -> None:
    scene.ready()
    scene.person.ensure_namespace("team-a")
    scene.patiently(lambda: scene.person.create_instance("team-a", "lonely"))
    scene.until(lambda: scene.sap.instances, "SAP to have it")
    assert scene.operand is not None
    scene.operand.kill()
    scene.delete()
    scene.nothing_left()
    result = await scene.result()
    assert "failed calling webhook" in result.hard_delete_ended and "team-a" in result.hard_delete_ended
    assert list(scene.reported()) == ["team-a/lonely"]


@pytest.mark.long
async def test_an_operand_that_comes_back_within_the_budget_finishes_the_hard_way(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 3})
    assert scene.operand is not None
    scene.operand.kill()
    mandate = scene.mandate()
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: "3 ServiceBindings" in scene.message(), "the status to say what is waited for")
    await scene.give_more_time(mandate)  # a slow machine may take the whole budget to start the operand
    scene.operand = scene.environment.start_operand()
    scene.gone()
    scene.nothing_left()
    assert (scene.sap.instances, scene.reported()) == ({}, {})
    assert (await scene.result()).mode is DeletionMode.HARD


async def test_a_slow_broker_is_waited_for_within_the_budget(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 3})
    scene.sap.latency = 0.7  # one object after the other
    scene.delete()
    scene.nothing_left()
    assert (scene.sap.instances, scene.sap.refusals_for_bindings, scene.reported()) == ({}, 0, {})
    result = await scene.result()
    assert result.mode is DeletionMode.HARD and result.seconds > 3


async def test_deletions_that_sap_accepts_and_does_later_are_waited_for_one_object_of_a_kind_after_the_other(
    scene: Scene,
) -> None:
    scene.ready()
    known = scene.sap.put("service_instances", "team-a", "instance-0")
    scene.sap.latency, scene.sap.asynchronous = 0.1, 0.3
    scene.make({"team-a": 3})
    assert known in scene.sap.instances  # the operand found it by its name, and made no other
    scene.delete()
    scene.nothing_left()
    assert (scene.sap.instances, scene.sap.bindings, scene.reported()) == ({}, {}, {})
    assert (await scene.result()).mode is DeletionMode.HARD
    assert scene.sap.calls["DELETE", "service_instances", known] == 1
    assert scene.sap.side_by_side == {"service_instances": 1, "service_bindings": 1}
    assert set(scene.sap.callers) == {"operand"}


@pytest.mark.long
async def test_an_operand_that_dies_half_way_leaves_nothing_in_sap_that_is_not_reported(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 3, "team-b": 3})
    scene.sap.refused |= {"binding-1"}  # so that half of it is done, and half not, when the operand dies
    scene.person.delete_operator("btpoperator")
    scene.until(lambda: len(scene.sap.bindings) == 2, "the other bindings to go")
    assert scene.operand is not None
    scene.operand.kill()
    scene.gone()
    scene.nothing_left()
    left = {made["id"] for made in [*scene.sap.instances.values(), *scene.sap.bindings.values()]}
    # It may name one too many, which SAP had deleted and the operand had no time to say so; never one too few.
    assert left and left <= {entry["sap_id"] for entry in scene.reported().values()}


@pytest.mark.long
async def test_a_broker_that_refuses_is_quoted_and_the_rest_goes_the_hard_way(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2, "team-b": 2})
    scene.person.create_instance("team-b", "stubborn")
    scene.until(lambda: len(scene.sap.instances) == 5, "SAP to have it")
    scene.sap.refused.add("stubborn")
    scene.delete()
    scene.nothing_left()
    assert [made["name"] for made in scene.sap.instances.values()] == ["stubborn"]
    reported = scene.reported()
    assert list(reported) == ["team-b/stubborn"]
    assert "there are active subscriptions" in reported["team-b/stubborn"]["broker_message"]
    assert "there are active subscriptions" in (await scene.result()).hard_delete_ended


@pytest.mark.long
async def test_an_instance_that_must_not_be_deleted_stops_nobody_else_and_is_reported(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    scene.person.create_instance("team-a", "a-precious", annotations={PREVENT_DELETION_ANNOTATION: "true"})
    scene.until(lambda: len(scene.sap.instances) == 3, "SAP to have it")
    scene.delete()
    scene.nothing_left()
    assert "prevent deletion" in (await scene.result()).hard_delete_ended
    assert [made["name"] for made in scene.sap.instances.values()] == ["a-precious"]
    assert list(scene.reported()) == ["team-a/a-precious"]


@pytest.mark.long
async def test_a_finalizer_of_somebody_else_stays_is_named_and_once_it_is_gone_the_deletion_finishes(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 1})
    instance = "/apis/services.cloud.sap.com/v1/namespaces/team-a/serviceinstances/instance-0"
    body = {"metadata": {"finalizers": [OPERAND_FINALIZER, "example.com/theirs"]}}
    scene.environment.cluster.request("PATCH", instance, body, "application/merge-patch+json")
    scene.person.delete_operator("btpoperator")
    scene.says(
        "HardDeleting", "released by the operand", "ServiceInstance team-a/instance-0 (kept by example.com/theirs)"
    )
    assert not scene.sap.instances
    held = "ServiceInstance team-a/instance-0 (example.com/theirs)"
    scene.says("HardDeleting", "removing everything that the chart installed: waiting for CustomResource", held)
    scene.says("ResourceRemovalFailed", held, seconds=60)
    assert (scene.person.get(instance) or {})["metadata"]["finalizers"] == ["example.com/theirs"]
    body = {"metadata": {"finalizers": None}}  # type: ignore[dict-item]
    scene.environment.cluster.request("PATCH", instance, body, "application/merge-patch+json")
    scene.gone()
    scene.nothing_left()


@pytest.mark.long
async def test_an_operand_lost_in_a_deletion_is_restored_without_the_managers_secret_and_abandons_nothing(
    scene: Scene,
) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    assert scene.operand is not None
    scene.operand.kill()
    deployment = f"/apis/apps/v1/namespaces/kyma-system/deployments/{OPERAND_DEPLOYMENT}"

    def lose() -> None:
        scene.says("HardDeleting", "2 ServiceBindings", "soft delete follows")  # hard delete runs
        scene.person.delete("/api/v1/namespaces/kyma-system/secrets/sap-btp-manager")
        scene.person.delete(deployment)
        scene.until(lambda: scene.person.get(deployment), "the Deployment to be back")
        scene.says("HardDeleting", f"the operand was restored: Deployment kyma-system/{OPERAND_DEPLOYMENT}")
        scene.operand = scene.environment.start_operand()

    await scene.delete_by(OperandTeardown.AUTO, timedelta(minutes=2), lose)
    scene.nothing_left()
    assert (scene.sap.instances, scene.sap.bindings, scene.reported()) == ({}, {}, {})
    assert (await scene.result()).mode is DeletionMode.HARD


async def test_what_the_api_forbids_to_remove_is_named_and_once_allowed_the_deletion_finishes(scene: Scene) -> None:
    scene.ready()
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rules = [
        {
            "apiGroups": ["apiextensions.k8s.io"],
            "apiVersions": ["v1"],
            "operations": ["DELETE"],
            "resources": ["customresourcedefinitions"],
        }
    ]
    policy = {
        "metadata": {"name": "keep-crds"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "false", "message": "crds stay"}],
        },
    }
    binding = {"metadata": {"name": "keep-crds"}, "spec": {"policyName": "keep-crds", "validationActions": ["Deny"]}}
    scene.environment.cluster.request("POST", f"{policies}ies", policy)
    scene.environment.cluster.request("POST", f"{policies}ybindings", binding)
    await asyncio.sleep(1)  # the API server takes a moment to know its policies
    scene.person.delete_operator("btpoperator")
    scene.says("ResourceRemovalFailed", "CustomResourceDefinition", "crds stay")
    scene.person.delete(f"{policies}ybindings/keep-crds")
    scene.person.delete(f"{policies}ies/keep-crds")
    await asyncio.sleep(1)
    body = {"metadata": {"labels": {"look": "again"}}}
    path = "/apis/operator.kyma-project.io/v1alpha1/namespaces/kyma-system/btpoperators/btpoperator"
    with suppress(HTTPError):  # it is gone already, if an event of its own came first
        scene.environment.cluster.request("PATCH", path, body, "application/merge-patch+json")
    scene.gone()
    scene.nothing_left()


@pytest.mark.long
@pytest.mark.parametrize("phase", ["HardDeleting", "SoftDeleting", "removing"])
async def test_a_worker_killed_in_any_phase_changes_neither_the_end_nor_the_budget(scene: Scene, phase: str) -> None:
    scene.ready()
    scene.make({"team-a": 3, "team-b": 3})
    worker = scene.environment.workers[0]
    assert worker.process is not None
    if phase != "removing":
        assert scene.operand is not None
        scene.operand.kill()
    began = time.monotonic()
    scene.person.delete_operator("btpoperator")
    if phase == "removing":
        webhooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
        name = f"{webhooks}/sap-btp-operator-validating-webhook-configuration"
        scene.until(lambda: scene.person.get(name) is None, "the removal to begin")
    else:
        scene.until(lambda: scene.reason() == phase, f"{phase} to be said")
    worker.process.kill()
    await asyncio.sleep(1)
    worker.start()
    scene.gone(seconds=120)
    assert time.monotonic() - began < BUDGET + 60
    scene.nothing_left()
    assert len(scene.reported()) == (0 if phase == "removing" else 12)
    assert len(scene.sap.instances) == (0 if phase == "removing" else 6)


async def test_a_user_s_object_that_only_carries_the_label_survives(scene: Scene) -> None:
    scene.ready()
    meta = {"name": "mine", "labels": {"app.kubernetes.io/managed-by": "btp-manager"}}
    collection = "/api/v1/namespaces/kyma-system/configmaps"
    scene.environment.cluster.request("POST", collection, {"metadata": meta, "data": {"a": "b"}})
    scene.delete()
    assert scene.person.get(f"{collection}/mine") is not None
    scene.person.delete(f"{collection}/mine")


async def test_a_cr_deleted_while_its_secret_is_missing_still_goes_and_so_does_the_operand(scene: Scene) -> None:
    scene.ready()
    scene.person.delete("/api/v1/namespaces/kyma-system/secrets/sap-btp-manager")
    scene.until(lambda: scene.reason() == "MissingSecret", "the missing Secret to be said")
    scene.delete()
    scene.nothing_left()


async def test_a_spare_cr_goes_at_once_and_takes_nothing_with_it(scene: Scene) -> None:
    scene.ready()
    await asyncio.sleep(1.1)
    scene.person.create_operator("spare")
    scene.until(lambda: scene.reason("spare") == "OlderCRExists", "the spare to be told")
    scene.delete("spare", seconds=5)
    assert scene.state() == "Ready" and scene.person.managed_objects()
    scene.delete()


@pytest.mark.long
@pytest.mark.parametrize(
    ("teardown", "alive", "mode"),
    [
        (OperandTeardown.FIRST, True, DeletionMode.SOFT),
        (OperandTeardown.FIRST, False, DeletionMode.SOFT),
        (OperandTeardown.LAST, True, DeletionMode.HARD),
        (OperandTeardown.LAST, False, DeletionMode.SOFT),
        (OperandTeardown.AUTO, True, DeletionMode.HARD),
        (OperandTeardown.AUTO, False, DeletionMode.SOFT),
    ],
)
async def test_each_teardown_policy_ends_and_says_how(
    scene: Scene, teardown: OperandTeardown, alive: bool, mode: DeletionMode
) -> None:
    scene.ready()
    scene.make({"team-a": 2})
    if not alive:
        assert scene.operand is not None
        scene.operand.kill()
    await scene.delete_by(teardown, budget=timedelta(seconds=4))
    scene.nothing_left()
    result = await scene.result()
    assert result.mode is mode
    assert len(scene.sap.instances) == (0 if mode is DeletionMode.HARD else 2)
    assert len(scene.reported()) == result.abandoned_total == (0 if mode is DeletionMode.HARD else 4)
