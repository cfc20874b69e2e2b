"""The activities of deletion at scale and at their edges. Here the operand is a task that takes finalizers off."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities.hard_delete import HardDeleteActivities
from activities.service_objects import ServiceObjectActivities
from activities.soft_delete import SoftDeleteActivities
from activities.teardown import TeardownActivities
from kube.answers import Object
from kube.client import Deletion, Kube
from kube.errors import Refused, Unavailable
from kube.request import REQUESTS
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    NETWORK_POLICIES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
)
from localcluster.controlplane import ControlPlane
from localcluster.shipped import RELEASE
from models.conditions import Reason
from models.deprovision import (
    AbandonedObject,
    HardDeleted,
    HardDeleteInput,
    Remaining,
    Removed,
    SoftDeleteResult,
    TeardownInput,
    TornDown,
)
from models.mandate import Mandate, Purpose
from models.names import (
    FIELD_MANAGER,
    HELD_BY_US,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NEWS,
    OPERAND_FINALIZER,
)
from operand.abandoned_report import AbandonedReport
from operand.mandated import MandatedKube
from operand.report_parts import stored_parts, text_of
from tests.acting import LIMIT, deprovision
from tests.cluster import ensure_namespace


async def hard_delete(kube: Kube, deletion: Mandate, seconds: float = 40, limit: timedelta = LIMIT) -> HardDeleted:
    """One attempt of so many seconds, in a hard delete with this limit."""
    input = HardDeleteInput(mandate=deletion, attempt=timedelta(seconds=seconds))
    return await deprovision(HardDeleteActivities(kube).hard_delete_service_objects, input, limit)


async def soft_delete(kube: Kube, deletion: Mandate) -> SoftDeleteResult:
    activities, input = SoftDeleteActivities(kube), TeardownInput(mandate=deletion)
    return await deprovision(activities.soft_delete_service_objects, input)


async def remove_resources(kube: Kube, deletion: Mandate) -> TornDown:
    return await deprovision(TeardownActivities(kube).remove_resources, TeardownInput(mandate=deletion))


async def count(kube: Kube, deletion: Mandate) -> Remaining:
    return await deprovision(ServiceObjectActivities(kube).count_service_objects, deletion)


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
        await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, spec))
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
            SERVICE_INSTANCES, _object(SERVICE_INSTANCES, {"name": name, "namespace": ours, **held}, spec)
        )
    stubborn = {"name": "stubborn", "namespace": theirs, **held}
    refers = {**wanted, "servicePlanName": "reference-instance"}
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, stubborn, refers))
    binds = {"serviceInstanceName": "bound", "serviceInstanceNamespace": ours}
    await kube.create(SERVICE_BINDINGS, _object(SERVICE_BINDINGS, stubborn, binds))
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
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, spec))
    await deleting
    assert (await count(worker, deletion)).none


@pytest.mark.long
async def test_soft_delete_takes_two_requests_for_an_object_and_names_each(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 50, 10)
    before = requests()
    result = await soft_delete(worker, deletion)
    sent = sum(count - before.get(verb, 0) for verb, count in requests().items() if verb != "get Secret")
    looks = requests()["get Secret"] - before.get("get Secret", 0)
    assert result.abandoned_total == 1000 and len(result.abandoned) == 100
    assert (result.removed.bindings, result.removed.instances) == (500, 500)
    assert looks <= 500 and sent + looks <= 2 * 1500  # instances, bindings and Secrets
    assert (await count(worker, deletion)).none
    lines = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
    assert lines["total"] == "1000" and len(lines["objects.jsonl"].splitlines()) == 1000


async def test_soft_delete_killed_anywhere_goes_on_and_reports_all(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(kube, 3, 4)
    patch = worker.json_patch
    tried = 0

    async def dies(*args: object, **kwargs: object) -> Object:
        nonlocal tried
        tried += 1
        if tried % 4 == 0:
            raise Unavailable("killed")
        return await patch(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "json_patch", dies)
    attempts = 0
    while True:
        attempts += 1
        try:
            result = await soft_delete(worker, deletion)
            break
        except ApplicationError as error:
            assert not error.non_retryable and attempts < 50
    assert attempts > 2
    assert result.abandoned_total == len(result.abandoned) == 24  # not only what the last attempt let go
    data = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
    assert data["total"] == "24" and (await count(worker, deletion)).none


async def test_what_is_made_during_soft_delete_goes_too_and_is_reported_if_it_may_be_in_sap_btp(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the operand's finalizer it was never in SAP BTP: only the operand, which is gone, makes it there."""
    await seed(kube, 1, 1)
    patch, namespace = worker.json_patch, "many-0"

    async def meanwhile(*args: object, **kwargs: object) -> Object:
        monkeypatch.setattr(worker, "json_patch", patch)
        for name, finalizers in (("restored", [OPERAND_FINALIZER]), ("new", [])):
            meta = {"name": name, "namespace": namespace, "finalizers": finalizers}
            await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, _instance_spec()))
        return await patch(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "json_patch", meanwhile)
    result = await soft_delete(worker, deletion)
    assert sorted(entry.name for entry in result.abandoned) == ["b0", "i0", "restored"]
    assert (await count(worker, deletion)).none


async def test_a_definition_that_an_object_of_the_operand_holds_is_given_back_to_soft_delete_at_once(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    """Somebody restores a backup between soft delete and the removal: nobody else would take that finalizer off."""
    meta = {"name": "late", "namespace": await ensure_namespace(kube, "restored"), "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, _object(SERVICE_INSTANCES, meta, _instance_spec()))
    with pytest.raises(ApplicationError) as held:
        await remove_resources(worker, deletion)
    assert (held.value.type, held.value.non_retryable) == (HELD_BY_US, True)
    assert "ServiceInstance restored/late" in held.value.message
    result = await soft_delete(worker, deletion)
    assert [entry.name for entry in result.abandoned] == ["late"]
    assert (await remove_resources(worker, deletion)).resources >= 1


async def test_soft_delete_leaves_finalizers_and_secrets_of_others_alone(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
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

    result = await soft_delete(worker, deletion)
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


async def test_a_report_that_is_refused_stops_no_soft_delete_and_events_name_what_is_abandoned(
    kube: Kube, worker: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 2)
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [{**rule, "resourceNames": ["sap-btp-abandoned"]}]},
        "validations": [{"expression": "false", "message": "no reports here"}],
    }
    control_plane.request("POST", f"{policies}ies", {"metadata": {"name": "paperless"}, "spec": spec})
    bound = {"policyName": "paperless", "validationActions": ["Deny"]}
    control_plane.request("POST", f"{policies}ybindings", {"metadata": {"name": "paperless"}, "spec": bound})
    try:
        await asyncio.sleep(1)  # the API server takes a moment to know its policies
        result = await soft_delete(worker, deletion)
    finally:
        control_plane.request("DELETE", f"{policies}ybindings/paperless")
        control_plane.request("DELETE", f"{policies}ies/paperless")
    assert (result.abandoned_total, result.kept) == (4, []) and "no reports here" in result.not_listed
    events = (await kube.list(EVENTS, "default")).items
    told = " ".join(event["message"] for event in events if event["reason"] == "ServiceObjectsAbandoned")
    for name in ("ServiceBinding many-0/b0", "ServiceBinding many-0/b1", "ServiceInstance many-0/i1"):
        assert name in told
    assert await kube.find(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE) is None


async def test_a_report_that_fills_up_counts_the_rest_and_shrinks_again(
    kube: Kube, worker: Kube, service_kinds: None, mandate: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operand.abandoned_report.PART_SIZE", 300)  # two lines
    held = MandatedKube(worker, mandate, Purpose.PROVISION)
    report = AbandonedReport(worker, held, mandate.ref)
    names = [f"i{number}" for number in range(100)]
    everything = [
        (name, AbandonedObject(kind="ServiceInstance", namespace="a", name=name, sap_id="")) for name in names
    ]
    await report.add(everything)
    first = (await kube.get(CONFIG_MAPS, "sap-btp-abandoned", KYMA_NAMESPACE))["data"]
    listed = [line async for part in stored_parts(kube) for line in text_of(part).splitlines()]
    assert report.total == 100 and 20 <= len(listed) < 100
    assert first["notListed"].startswith(f"{100 - len(listed)} more")
    await report.take_back([uid for uid, _ in everything[3:]])
    assert [line async for part in stored_parts(kube) for line in text_of(part).splitlines()] == listed[:3]
    await report.take_back([uid for uid, _ in everything])


async def test_names_of_an_earlier_chart_are_found_and_neither_the_users_nor_our_own(
    kube: Kube, worker: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
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

    removed = await remove_resources(worker, deletion)
    assert removed.resources == 3  # the role and two CRDs
    assert await kube.find(CLUSTER_ROLES, "sap-btp-operator-proxy-role") is None
    (passed_over,) = removed.passed_over
    assert passed_over.startswith(
        f"NetworkPolicy {KYMA_NAMESPACE}/no-name-of-ours was left alone: it carries our label"
    )
    assert await kube.find(BTP_OPERATORS, deletion.ref.name, deletion.ref.namespace)
    assert await kube.find(CUSTOM_RESOURCE_DEFINITIONS, "btpoperators.operator.kyma-project.io")
    assert await kube.delete(CONFIG_MAPS, "a-person-s", KYMA_NAMESPACE) is Deletion.DONE
    assert await kube.delete(NETWORK_POLICIES, "no-name-of-ours", KYMA_NAMESPACE) is Deletion.DONE
    again = await remove_resources(worker, deletion)
    assert again.resources == 0 and FIELD_MANAGER == "btp-manager"


async def test_where_the_right_to_look_at_secrets_is_missing_soft_delete_lets_all_go_all_the_same(
    kube: Kube, worker: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 2)
    path = CLUSTER_ROLES.path(name=f"{RELEASE}-worker")
    rules = control_plane.request("GET", path)["rules"]
    less = [rule for rule in rules if rule.get("resources") != ["secrets"]]
    assert len(less) == len(rules) - 1
    control_plane.request("PATCH", path, {"rules": less}, "application/merge-patch+json")
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Refused):
                while True:
                    await worker.find(SECRETS, "s0", "many-0")
                    await asyncio.sleep(0.1)
        done = await soft_delete(worker, deletion)
    finally:
        control_plane.request("PATCH", path, {"rules": rules}, "application/merge-patch+json")
    assert (done.removed.bindings, done.removed.instances, done.removed.secrets) == (2, 2, 0)
    assert done.abandoned_total == 4 and done.kept == []


async def test_a_webhook_of_somebody_else_that_nobody_serves_is_named_and_counts_as_an_answer(
    kube: Kube, worker: Kube, control_plane: ControlPlane, service_kinds: None, deletion: Mandate
) -> None:
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    rule = {"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["*"]}
    webhook = {
        "name": "theirs.example.com",
        "rules": [rule],
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
    }
    control_plane.request("POST", path, {"metadata": {"name": "theirs"}, "webhooks": [webhook]})
    try:
        async with asyncio.timeout(20):
            while True:
                with pytest.raises(ApplicationError) as failed:
                    await remove_resources(worker, deletion)
                if "failed calling webhook" in failed.value.message:
                    break
        assert "theirs.example.com" in failed.value.message and not failed.value.non_retryable
        assert isinstance(failed.value.details[0], datetime)
    finally:
        control_plane.request("DELETE", f"{path}/theirs")
        await asyncio.sleep(1)


@pytest.mark.long
async def test_a_removal_that_waits_ends_to_say_for_what_until_the_cr_says_it_then_it_fails_by_name(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await ensure_namespace(kube, "removal-waits")
    meta = {"name": "theirs", "namespace": "removal-waits", "finalizers": ["example.com/theirs"]}
    instance = {"apiVersion": "services.cloud.sap.com/v1", "kind": "ServiceInstance", "metadata": meta}
    await kube.apply(SERVICE_INSTANCES, instance | {"spec": _instance_spec()})
    activities, input = TeardownActivities(worker), TeardownInput(mandate=deletion)
    try:
        with pytest.raises(ApplicationError) as news:
            await deprovision(activities.remove_resources, input)
        assert news.value.type == NEWS and news.value.non_retryable
        waits, removed = news.value.message, Removed.model_validate(news.value.details[1])
        assert "waiting for CustomResourceDefinition serviceinstances.services.cloud.sap.com to be gone" in waits
        assert waits.endswith("; held by ServiceInstance removal-waits/theirs (example.com/theirs)")
        with pytest.raises(ApplicationError) as failed:
            await deprovision(activities.remove_resources, input.model_copy(update={"told": waits, "removed": removed}))
        assert (failed.value.type, failed.value.message) == (Reason.RESOURCE_REMOVAL_FAILED, waits)
    finally:
        await kube.merge(SERVICE_INSTANCES, "theirs", "removal-waits", {"metadata": {"finalizers": None}})
    done = await deprovision(activities.remove_resources, input.model_copy(update={"removed": removed}))
    assert done.resources == removed.resources >= 2


def requests() -> dict[str, float]:
    """Requests of this process so far; those for Secrets apart, the seeding's own verbs left in."""
    found: dict[str, float] = {}
    for metric in REQUESTS.collect():
        for sample in metric.samples:
            verb, kind = sample.labels.get("verb", ""), sample.labels.get("kind")
            if sample.name.endswith("_total") and verb != "watch":
                name = f"{verb} Secret" if kind == "Secret" else verb
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
