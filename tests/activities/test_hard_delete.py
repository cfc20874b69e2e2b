"""Hard delete at scale and at its edges. Here the operand is a task that takes finalizers off."""

import asyncio
from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError

from kube.client import Kube
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import OPERAND_FINALIZER
from tests.activities.deletion import an_object, count, hard_delete, requests, seed, soft_delete
from tests.cluster import ensure_namespace


async def test_nothing_to_delete_takes_two_requests_with_or_without_the_crds(
    worker: Kube, operand: None, deletion: Mandate
) -> None:
    removed = await hard_delete(worker, deletion)
    assert removed.bindings == removed.instances == 0


async def test_without_the_crds_there_is_nothing_to_delete(worker: Kube, deletion: Mandate) -> None:
    assert (await hard_delete(worker, deletion)).instances == 0
    remaining = await count(worker, deletion)
    assert remaining.none and remaining.operand_lost
    result = await soft_delete(worker, deletion)
    assert result.abandoned_total == 0


@pytest.mark.parametrize(("namespaces", "each"), [(1, 1), pytest.param(50, 10, marks=pytest.mark.long)])
async def test_hard_delete_asks_by_namespace_and_looks_once_at_each_secret(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate, namespaces: int, each: int
) -> None:
    await seed(kube, namespaces, each)
    remaining = await count(worker, deletion)
    total = namespaces * each
    assert (remaining.bindings, remaining.instances) == (total, total)
    before = requests()
    removed = await hard_delete(worker, deletion)
    sent = {verb: count - before.get(verb, 0) for verb, count in requests().items()}
    assert (removed.bindings, removed.instances) == (total, total)
    assert sent["deletecollection"] <= 2 * namespaces + 4
    assert sent["get Secret"] <= total
    assert (await count(worker, deletion)).none
    assert not [s for s in (await kube.list(SECRETS)).items if s["metadata"]["namespace"].startswith("many-")]


@pytest.mark.long
@pytest.mark.parametrize("operand", [1], indirect=True)
async def test_instances_whose_bindings_go_one_after_the_other_are_asked_for_a_few_together(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 4, 50)
    before = requests()
    removed = await hard_delete(worker, deletion)
    sent = {verb: count - before.get(verb, 0) for verb, count in requests().items()}
    assert (removed.bindings, removed.instances) == (200, 200)
    assert sent["deletecollection"] + sent.get("delete", 0) <= 60, sent


async def test_an_instance_that_calls_itself_shared_and_a_reference_keeps_no_shared_one(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate
) -> None:
    namespace = await ensure_namespace(kube, "many-0")
    for name, plan in (("both", "reference-instance"), ("shared", "p")):
        meta = {"name": name, "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
        spec = {"serviceOfferingName": "o", "servicePlanName": plan, "shared": True}
        await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, spec))
    assert (await hard_delete(worker, deletion, seconds=10)).instances == 2


@pytest.mark.long
async def test_what_never_goes_keeps_instances_of_others_for_three_quarters_of_the_time_at_most(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate
) -> None:
    ours, theirs = await ensure_namespace(kube, "many-0"), await ensure_namespace(kube, "many-1")
    held = {"finalizers": [OPERAND_FINALIZER]}
    wanted = {"serviceOfferingName": "o", "servicePlanName": "p"}
    for name, spec in (("bound", wanted), ("shared", {**wanted, "shared": True})):
        await kube.create(
            SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, {"name": name, "namespace": ours, **held}, spec)
        )
    stubborn = {"name": "stubborn", "namespace": theirs, **held}
    refers = {**wanted, "servicePlanName": "reference-instance"}
    await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, stubborn, refers))
    binds = {"serviceInstanceName": "bound", "serviceInstanceNamespace": ours}
    await kube.create(SERVICE_BINDINGS, an_object(SERVICE_BINDINGS, stubborn, binds))
    deleting = asyncio.create_task(hard_delete(worker, deletion, seconds=10, limit=timedelta(seconds=8)))
    await asyncio.sleep(3)
    assert len((await kube.list(SERVICE_INSTANCES, ours)).items) == 2  # until then they are spared a refusal
    with pytest.raises(ApplicationError, match="many-1/stubborn"):
        await deleting
    assert (await kube.list(SERVICE_INSTANCES, ours)).items == []
    for kind in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        await kube.merge(kind, "stubborn", theirs, {"metadata": {"finalizers": None}})


@pytest.mark.long
async def test_what_is_refused_shortly_before_the_deadline_does_not_end_the_attempt_before_it(
    kube: Kube, worker: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 1)
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rule = {"apiGroups": ["services.cloud.sap.com"], "apiVersions": ["v1"], "operations": ["DELETE"]}
    spec = {
        "matchConstraints": {"resourceRules": [{**rule, "resources": ["servicebindings"]}]},
        "validations": [{"expression": "false", "message": "bindings stay"}],
    }
    control_plane.request("POST", f"{policies}ies", {"metadata": {"name": "stay"}, "spec": spec})
    bound = {"policyName": "stay", "validationActions": ["Deny"]}
    control_plane.request("POST", f"{policies}ybindings", {"metadata": {"name": "stay"}, "spec": bound})
    try:
        await asyncio.sleep(1)  # the API server takes a moment to know its policies
        early = await hard_delete(worker, deletion, seconds=20)
        assert not early.is_done and "bindings stay" in str(early.obstacles)
        with pytest.raises(ApplicationError, match="bindings stay"):  # said, too, when the attempt is over
            await hard_delete(worker, deletion, seconds=6, limit=timedelta(seconds=3))
    finally:
        control_plane.request("DELETE", f"{policies}ybindings/stay")
        control_plane.request("DELETE", f"{policies}ies/stay")
        await asyncio.sleep(1)


async def test_what_is_left_when_an_attempt_ends_is_counted_and_named(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 2, 3)
    with pytest.raises(ApplicationError, match=r"6 ServiceBindings left: many-0/b0, many-0/b1, many-0/b2") as error:
        await hard_delete(worker, deletion, seconds=2)
    assert not error.value.non_retryable
    assert (await count(worker, deletion)).instances == 6


async def test_what_only_a_finalizer_of_somebody_else_keeps_is_named_and_not_waited_for(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 2)
    theirs = {"metadata": {"finalizers": ["example.com/theirs"]}}
    await kube.merge(SERVICE_BINDINGS, "b0", "many-0", theirs)
    await kube.merge(SERVICE_INSTANCES, "i0", "many-0", theirs)
    await kube.delete(SERVICE_BINDINGS, "b0", "many-0")
    removed = await hard_delete(worker, deletion)
    assert (removed.bindings, removed.instances) == (1, 1)
    assert removed.kept == [
        "ServiceBinding many-0/b0 (kept by example.com/theirs)",
        "ServiceInstance many-0/i0 (kept by example.com/theirs)",
    ]
    remaining = await count(worker, deletion)
    assert (remaining.bindings, remaining.instances, remaining.some) == (1, 1, removed.kept)


async def test_an_object_made_while_the_deletion_runs_is_deleted_too(
    kube: Kube, worker: Kube, operand: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 20)
    deleting = asyncio.create_task(hard_delete(worker, deletion))
    await asyncio.sleep(0.2)
    late = await ensure_namespace(kube, "made-meanwhile")
    spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
    meta = {"name": "late", "namespace": late, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, spec))
    await deleting
    assert (await count(worker, deletion)).none
