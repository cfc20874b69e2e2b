"""What is not ready is named, against a real API server."""

import pytest
from temporalio.exceptions import ApplicationError

from activities import readiness
from kube.client import Kube
from kube.resources import (
    DEPLOYMENTS,
    PODS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import (
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    NEWS,
    OPERAND_DEPLOYMENT,
    STILL_WAITING,
)
from tests.activities.steps import Steps
from tests.cluster import encoded
from tests.conftest import Eventually


async def only_on(kube: Kube, label: str | None) -> None:
    """Have the operand's pods run only on nodes with that label: there are none."""
    selector = {"no": label} if label else None
    patch = {"spec": {"template": {"spec": {"nodeSelector": selector}}}}
    await kube.merge(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE, patch)


async def test_what_is_not_ready_is_named_until_it_is(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await steps.wait_ready(mandate)
    await only_on(kube, "such-node")
    with pytest.raises(ApplicationError, match=OPERAND_DEPLOYMENT) as error:
        await steps.wait_ready(mandate, seconds=4)
    assert "Unschedulable" in str(error.value) and not error.value.non_retryable
    await only_on(kube, None)
    await steps.wait_ready(mandate)


async def test_why_a_pod_is_not_ready_is_told_at_once_and_only_once(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await steps.wait_ready(mandate)
    await only_on(kube, "such-node")
    with pytest.raises(ApplicationError, match="Unschedulable") as news:
        await steps.wait_ready(mandate, seconds=300, told="")
    assert (news.value.type, news.value.non_retryable) == (NEWS, True)
    with pytest.raises(ApplicationError, match="Unschedulable") as waiting:
        await steps.wait_ready(mandate, seconds=4, told=news.value.message)
    assert waiting.value.type == STILL_WAITING


async def test_a_wait_that_cannot_follow_what_it_waits_for_fails_instead_of_waiting(
    steps: Steps, mandate: Mandate, credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await steps.apply(mandate)

    def digest(obj: object) -> object:
        raise RuntimeError("a defect")

    monkeypatch.setattr(readiness, "_conditions_only", digest)
    with pytest.raises(ApplicationError, match="a defect of this program: RuntimeError"):
        await steps.wait_ready(mandate, seconds=10)


@pytest.mark.long
async def test_words_of_a_kubelet_without_end_are_told_once_too(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await only_on(kube, "such-node")
    with pytest.raises(ApplicationError, match="Unschedulable") as error:
        await steps.wait_ready(mandate, seconds=300, told="")
    name = error.value.message.split()[1].rstrip(":")
    pulling = {"waiting": {"reason": "ImagePullBackOff", "message": "the registry said\n" + "<br>" * 5000}}
    container = {"name": "manager", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": pulling}
    status = {"status": {"containerStatuses": [container]}}
    await kube.merge(PODS, name, KYMA_NAMESPACE, status, subresource="status")
    with pytest.raises(ApplicationError, match="ImagePullBackOff the registry said <br>") as news:
        await steps.wait_ready(mandate, seconds=300, told="")
    assert (news.value.type, len(news.value.message)) == (NEWS, 1_000)
    with pytest.raises(ApplicationError) as waiting:
        await steps.wait_ready(mandate, seconds=4, told=news.value.message)
    assert waiting.value.type == STILL_WAITING


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
