"""Soft delete at scale and at its edges: what it lets go, what it leaves alone, and what it reports."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from kube.answers import Object
from kube.client import Kube
from kube.errors import Refused, Unavailable
from kube.resources import CLUSTER_ROLES, CONFIG_MAPS, EVENTS, SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES
from localcluster.controlplane import ControlPlane
from localcluster.shipped import RELEASE
from models.deprovision import AbandonedObject
from models.mandate import Mandate, Purpose
from models.names import KYMA_NAMESPACE, OPERAND_FINALIZER
from operand.abandoned_report import AbandonedReport
from operand.mandated import MandatedKube
from operand.report_parts import stored_parts, text_of
from tests.activities.deletion import an_object, count, instance_spec, requests, seed, soft_delete
from tests.cluster import ensure_namespace


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
            await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, instance_spec()))
        return await patch(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(worker, "json_patch", meanwhile)
    result = await soft_delete(worker, deletion)
    assert sorted(entry.name for entry in result.abandoned) == ["b0", "i0", "restored"]
    assert (await count(worker, deletion)).none


async def test_soft_delete_leaves_finalizers_and_secrets_of_others_alone(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    namespace = await ensure_namespace(kube, "mixed")
    theirs = [OPERAND_FINALIZER, "example.com/theirs"]
    meta = {"name": "kept", "namespace": namespace, "finalizers": theirs}
    await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, instance_spec()))
    binding_meta = {"name": "plain", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_BINDINGS, an_object(SERVICE_BINDINGS, binding_meta, {"serviceInstanceName": "kept"}))
    await kube.create(SECRETS, {"metadata": {"name": "plain", "namespace": namespace}})
    watched = {"name": "parameters", "namespace": namespace, "finalizers": theirs[::-1]}
    await kube.create(SECRETS, {"metadata": watched})
    references = [{"secretKeyRef": {"name": "parameters", "key": "k"}}]
    spec = instance_spec() | {"parametersFrom": references, "watchParametersFromChanges": True}
    watcher = {"name": "watcher", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, watcher, spec))

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
