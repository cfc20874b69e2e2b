"""Putting back an operand that is lost while it has to delete. Against a real API server."""

import pytest
from temporalio.exceptions import ApplicationError

from kube.answers import Object
from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    SECRETS,
    SERVICE_INSTANCES,
    VALIDATING_WEBHOOKS,
)
from models.conditions import Reason
from models.mandate import Mandate
from models.names import (
    CREDENTIALS_SECRET,
    KYMA_NAMESPACE,
    MANAGED_SELECTOR,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
    OPERAND_DEPLOYMENT,
    OPERAND_FINALIZER,
)
from models.provision import Applied, ChartInput
from operand.rendering import ChartRenderer
from tests.acting import administrator, deprovision
from tests.activities.steps import Steps
from tests.cluster import ensure_namespace
from tests.conftest import OPERAND_CHART

ROLE = "sap-btp-operator-manager-role"


async def lose(kube: Kube, mandate: Mandate, *secrets: str) -> None:
    """The Deployment and its webhooks, and these Secrets, while the CR is being deleted."""
    await kube.delete(BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace)
    for kind in (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS):
        for obj in (await kube.list(kind, labels=MANAGED_SELECTOR)).items:
            await kube.delete(kind, obj["metadata"]["name"])
    await kube.delete(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    for name in secrets:
        await kube.delete(SECRETS, name, KYMA_NAMESPACE)


async def instance(kube: Kube, finalizer: str) -> Object:
    """One that the cluster deletes only without this finalizer, asked to go."""
    meta = {"name": "held", "namespace": await ensure_namespace(kube, "team-a"), "finalizers": [finalizer]}
    spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
    kind = {"apiVersion": SERVICE_INSTANCES.api_version, "kind": SERVICE_INSTANCES.kind}
    made = await kube.create(SERVICE_INSTANCES, {**kind, "metadata": meta, "spec": spec})
    await kube.delete(SERVICE_INSTANCES, "held", "team-a")
    return made


async def restore(steps: Steps, mandate: Mandate) -> Applied:
    return await deprovision(steps.chart.restore_operand, ChartInput(mandate=mandate))


async def test_without_the_managers_secret_the_operand_gets_back_what_it_ran_with(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    before = await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE)
    config = await kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    await lose(kube, mandate, CREDENTIALS_SECRET)
    await instance(kube, OPERAND_FINALIZER)
    written = (await restore(steps, mandate)).written
    assert f"Deployment {KYMA_NAMESPACE}/{OPERAND_DEPLOYMENT}" in written
    assert not [name for name in written if name.startswith(("Secret", "ConfigMap"))]
    assert (await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE))["data"] == before["data"]
    assert (await kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE))["data"] == config["data"]
    assert (await restore(steps, mandate)).written == []


async def test_a_worker_that_gives_the_operand_its_rights_gives_them_back_too(
    kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    worker = administrator(kube, "the chart's worker cannot: its release has them")
    outside = Steps(worker, ChartRenderer(OPERAND_CHART))
    await outside.apply(mandate)
    await lose(kube, mandate)
    await kube.delete(CLUSTER_ROLES, ROLE)
    await instance(kube, OPERAND_FINALIZER)
    assert f"ClusterRole {ROLE}" in (await restore(outside, mandate)).written


@pytest.mark.parametrize("finalizer", ["", "example.com/theirs"])
async def test_an_operand_that_nothing_waits_for_is_not_put_back(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str], finalizer: str
) -> None:
    await steps.apply(mandate)
    await lose(kube, mandate)
    if finalizer:
        await instance(kube, finalizer)
    assert (await restore(steps, mandate)).written == []
    assert await kube.find(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE) is None


async def test_where_no_credentials_are_left_both_places_are_named(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await lose(kube, mandate, CREDENTIALS_SECRET, OPERAND_CREDENTIALS_SECRET)
    await instance(kube, OPERAND_FINALIZER)
    with pytest.raises(ApplicationError) as error:
        await restore(steps, mandate)
    assert error.value.type == Reason.MISSING_SECRET.value and error.value.non_retryable
    assert "kyma-system/sap-btp-manager does not exist" in str(error.value)
    assert "kyma-system/sap-btp-service-operator cannot be used: missing keys: clientid" in str(error.value)
