"""Ready includes a call that goes through the operand's webhooks. Against a real API server that really calls them."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from temporalio.exceptions import ApplicationError

from kube.client import Kube
from kube.resources import SERVICE_INSTANCES
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, OPERAND_WEBHOOK_SERVICE, WEBHOOK_CHECK
from operand import pki
from operand.webhook_call import webhook_call_trouble
from tests.activities.steps import Steps
from tests.cluster import encoded
from tests.conftest import Eventually

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


@pytest.fixture
def nobody_answers(control_plane: ControlPlane) -> Iterator[None]:
    """Calls reach for a process behind the operand's pod, and there is none."""
    control_plane.webhooks.lead_to_operand()
    yield
    control_plane.webhooks.lead_to_operand(False)


async def test_nobody_behind_the_webhooks_is_not_ready_and_is_said(
    steps: Steps, mandate: Mandate, credentials: dict[str, str], nobody_answers: None, control_plane: ControlPlane
) -> None:
    await steps.apply(mandate)
    with pytest.raises(ApplicationError, match=r"webhooks do not work.*mserviceinstance\.kb\.io") as error:
        await steps.wait_ready(mandate, seconds=4)
    assert not error.value.non_retryable
    (unready,) = (await steps.check_drift(mandate)).unready
    assert "failed calling webhook" in unready
    control_plane.webhooks.lead_to_operand(False)
    await steps.wait_ready(mandate)
    assert (await steps.check_drift(mandate)).unready == []


async def test_an_operand_that_serves_a_certificate_of_another_ca_is_not_ready(
    steps: Steps, mandate: Mandate, credentials: dict[str, str], control_plane: ControlPlane
) -> None:
    await steps.apply(mandate)
    now, service = datetime.now(UTC), f"{OPERAND_WEBHOOK_SERVICE}.{KYMA_NAMESPACE}.svc"
    served, _ = pki.new_serving([service], now)
    control_plane.webhooks.serve = encoded({"tls.crt": served.certificate.decode(), "tls.key": served.key.decode()})
    control_plane.webhooks.lead_to_operand(False)  # ends connections that were trusted
    try:
        with pytest.raises(ApplicationError, match="x509"):
            await steps.wait_ready(mandate, seconds=3)
    finally:
        control_plane.webhooks.serve = None
    await steps.wait_ready(mandate)


async def test_whatever_refuses_the_instance_for_another_reason_is_ready(
    steps: Steps,
    kube: Kube,
    worker: Kube,
    person: Person,
    mandate: Mandate,
    credentials: dict[str, str],
    eventually: Eventually,
) -> None:
    await steps.apply(mandate)
    rule = {
        "apiGroups": ["services.cloud.sap.com"],
        "apiVersions": ["*"],
        "operations": ["*"],
        "resources": ["serviceinstances"],
    }
    validation = {"expression": "false", "message": "no instances in kyma-system"}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}
    binding = {"policyName": "none-here", "validationActions": ["Deny"]}
    person._cluster.request("POST", POLICIES, {"metadata": {"name": "none-here"}, "spec": spec})
    person._cluster.request("POST", BINDINGS, {"metadata": {"name": "none-here"}, "spec": binding})
    try:

        async def refused() -> bool:
            try:
                await kube.rehearse(SERVICE_INSTANCES, an_instance())
            except Exception as error:
                return "no instances in kyma-system" in str(error)
            return False

        await eventually(refused)
        assert await webhook_call_trouble(worker, ["mserviceinstance.kb.io"]) is None
        await steps.wait_ready(mandate)
    finally:
        person.delete(f"{BINDINGS}/none-here")
        person.delete(f"{POLICIES}/none-here")


async def test_nothing_is_made_by_looking(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await steps.wait_ready(mandate)
    await steps.check_drift(mandate)
    assert (await kube.list(SERVICE_INSTANCES)).items == []


def an_instance() -> dict[str, object]:
    return {
        "apiVersion": SERVICE_INSTANCES.api_version,
        "kind": SERVICE_INSTANCES.kind,
        "metadata": {"name": WEBHOOK_CHECK, "namespace": KYMA_NAMESPACE},
        "spec": {"serviceOfferingName": "a", "servicePlanName": "b"},
    }
