"""What is not ready is named, against a real API server."""

import pytest
from temporalio.exceptions import ApplicationError

from kube.client import Kube
from kube.resources import (
    DEPLOYMENTS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import (
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OPERAND_DEPLOYMENT,
)
from tests.activities.steps import Steps
from tests.cluster import encoded
from tests.conftest import Eventually


async def test_what_is_not_ready_is_named_until_it_is(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await steps.wait_ready(mandate)
    stuck = {"spec": {"template": {"spec": {"nodeSelector": {"no": "such-node"}}}}}
    await kube.merge(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE, stuck)
    with pytest.raises(ApplicationError, match=OPERAND_DEPLOYMENT) as error:
        await steps.wait_ready(mandate, seconds=4)
    assert "Unschedulable" in str(error.value) and not error.value.non_retryable
    heal = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
    await kube.merge(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE, heal)
    await steps.wait_ready(mandate)


async def test_webhooks_without_an_endpoint_or_with_another_ca_are_not_ready(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str], eventually: Eventually
) -> None:
    await steps.apply(mandate)
    await steps.wait_ready(mandate)
    name = "sap-btp-operator-validating-webhook-configuration"
    configuration = await kube.get(VALIDATING_WEBHOOKS, name)
    for hook in configuration["webhooks"]:
        hook["clientConfig"]["caBundle"] = encoded({"x": "another"})["x"]
    operations = [{"op": "replace", "path": "/webhooks", "value": configuration["webhooks"]}]
    await kube.json_patch(VALIDATING_WEBHOOKS, name, None, operations)
    survey = await steps.check_drift(mandate)
    assert survey.drifted == [f"ValidatingWebhookConfiguration {name}"]
    assert "does not trust our CA: vservicebinding.kb.io, vserviceinstance.kb.io" in str(survey.unready)
    await kube.merge(
        SERVICES, "sap-btp-operator-webhook-service", KYMA_NAMESPACE, {"spec": {"selector": {"no": "pod"}}}
    )

    async def noticed() -> bool:
        return "has no ready endpoint" in str((await steps.check_drift(mandate)).unready)

    await eventually(noticed)


async def test_what_somebody_else_labelled_as_ours_does_not_count(
    steps: Steps, kube: Kube, control_plane: ControlPlane, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    meta = {"name": "theirs", "namespace": KYMA_NAMESPACE, "labels": {MANAGED_BY_LABEL: MANAGED_BY}}
    labels = {"matchLabels": {"app": "theirs"}}
    pod = {"nodeSelector": {"no": "such-node"}, "containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": labels["matchLabels"]}, "spec": pod}
    control_plane.request(
        "POST", DEPLOYMENTS.path(KYMA_NAMESPACE), {"metadata": meta, "spec": {"selector": labels, "template": template}}
    )
    await steps.wait_ready(mandate)
    assert (await steps.check_drift(mandate)).unready == []
