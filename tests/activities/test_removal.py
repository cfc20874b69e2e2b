"""The removal of what the chart installed: what goes, what stays, and what it waits for."""

import asyncio
from datetime import datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError

from activities.teardown import TeardownActivities
from kube.client import Deletion, Kube
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    NETWORK_POLICIES,
    PODS,
    SERVICE_INSTANCES,
)
from localcluster.controlplane import ControlPlane
from models.conditions import Reason
from models.deprovision import Removed, TeardownInput
from models.mandate import Mandate
from models.names import (
    DEPROVISION_WORKFLOW,
    FIELD_MANAGER,
    HELD_BY_US,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NEWS,
    OPERAND_FINALIZER,
    OPERAND_POD_SELECTOR,
)
from tests.acting import LIMIT, acting_for, deprovision
from tests.activities.deletion import an_object, instance_spec, remove_resources, soft_delete
from tests.cluster import ensure_namespace


async def test_a_definition_that_an_object_of_the_operand_holds_is_given_back_to_soft_delete_at_once(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    """Somebody restores a backup between soft delete and the removal: nobody else would take that finalizer off."""
    meta = {"name": "late", "namespace": await ensure_namespace(kube, "restored"), "finalizers": [OPERAND_FINALIZER]}
    await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, instance_spec()))
    with pytest.raises(ApplicationError) as held:
        await remove_resources(worker, deletion)
    assert (held.value.type, held.value.non_retryable) == (HELD_BY_US, True)
    assert "ServiceInstance restored/late" in held.value.message
    result = await soft_delete(worker, deletion)
    assert [entry.name for entry in result.abandoned] == ["late"]
    assert (await remove_resources(worker, deletion)).resources >= 1


async def test_a_pod_that_has_not_ended_is_waited_for_by_temporals_clock_however_late_the_workers_says_it_is(
    kube: Kube, worker: Kube, deletion: Mandate
) -> None:
    """It may still act on what soft delete would let go. The worker's clock is ten minutes ahead of Temporal's here."""
    labels = dict(each.split("=") for each in OPERAND_POD_SELECTOR.split(","))
    meta = {"name": "late", "namespace": KYMA_NAMESPACE, "labels": labels, "finalizers": ["example.com/keeps"]}
    spec = {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 1, "nodeName": "none"}
    await kube.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    await kube.delete(PODS, "late", KYMA_NAMESPACE)
    await asyncio.sleep(2.1)
    environment = acting_for(deletion, DEPROVISION_WORKFLOW, LIMIT, behind=timedelta(minutes=10))
    try:
        with pytest.raises(ApplicationError, match="waiting for Pod kyma-system/late to be gone"):
            await environment.run(TeardownActivities(worker).remove_operand, TeardownInput(mandate=deletion, told=""))
    finally:
        await kube.merge(PODS, "late", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})


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
    await kube.apply(SERVICE_INSTANCES, instance | {"spec": instance_spec()})
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
