"""What somebody else deletes or changes is put back; what somebody else owns is left alone. Real processes."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kube.resources import CHART_KINDS
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from models.names import KYMA_NAMESPACE, MANAGED_SELECTOR, WEBHOOK_CERT_SECRET

MERGE = "application/merge-patch+json"
PODS = f"/api/v1/namespaces/{KYMA_NAMESPACE}/pods"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{KYMA_NAMESPACE}/deployments/sap-btp-operator-controller-manager"
SERVING = f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets/{WEBHOOK_CERT_SECRET}"
VOLATILE = ("resourceVersion", "uid", "creationTimestamp", "managedFields", "generation")


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment(pod_delay=1.5) as started:
        yield started


@pytest.fixture
def person(environment: Environment) -> Iterator[Person]:
    """Somebody in a cluster with a Ready CR."""
    person = Person(environment.cluster)
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")
    wait_until(lambda: state(person) == "Ready", "the CR to be Ready")
    yield person
    person.delete_operator("btpoperator")
    wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone")


def state(person: Person) -> str:
    status = person.status("btpoperator")
    return status.state if status else ""


def managed(person: Person) -> dict[str, dict[str, Any]]:
    """Every object of the chart, by its path."""
    found = {}
    for kind in CHART_KINDS:
        listing = person.get(f"{kind.path()}?labelSelector={MANAGED_SELECTOR}") or {}
        for obj in listing["items"]:
            found[kind.path(obj["metadata"].get("namespace"), obj["metadata"]["name"])] = obj
    return found


def watched(person: Person) -> dict[str, dict[str, Any]]:
    """All but the Secret with the webhook server's key, which the trigger may not read."""
    return {path: obj for path, obj in managed(person).items() if path != SERVING}


def essence(obj: dict[str, Any] | None) -> Any:
    """An object without what a new one has anew: identity, versions, keys and what is derived from them."""
    if obj is None:
        return None
    meta = {key: value for key, value in obj["metadata"].items() if key not in VOLATILE}
    labels = {key: value for key, value in meta.get("labels", {}).items() if key != "somebody"}
    return meta["name"], sorted(labels.items()), sorted(obj.get("rules") or [], key=str), sorted(obj.get("data") or {})


def test_whatever_is_deleted_of_the_chart_is_back_soon(person: Person) -> None:
    for path, before in watched(person).items():
        person.delete(path)
        uid = before["metadata"]["uid"]

        def back(path: str = path, uid: str = uid) -> bool:
            found = person.get(path)
            return found is not None and found["metadata"]["uid"] != uid

        print(f"{wait_until(back, f'{path} to be back'):6.2f} s  {path}")
        assert essence(person.get(path)) == essence(before)
        wait_until(lambda: state(person) == "Ready", f"Ready after {path}")


def test_whatever_is_changed_of_ours_is_put_back_and_what_others_add_stays(
    person: Person, environment: Environment
) -> None:
    for path, before in watched(person).items():
        label = "app.kubernetes.io/instance"
        if label not in before["metadata"]["labels"]:
            label = "app.kubernetes.io/managed-by"
        change = {"metadata": {"labels": {label: "somebody", "somebody": "else"}}}
        environment.cluster.request("PATCH", path, change, MERGE)
        expected = before["metadata"]["labels"][label]

        def back(path: str = path, label: str = label, expected: str = expected) -> bool:
            found = person.get(path) or {"metadata": {}}
            return bool(found["metadata"].get("labels", {}).get(label) == expected)

        print(f"{wait_until(back, f'{path} to be put back'):6.2f} s  {path}")
        found = person.get(path)
        assert found is not None and found["metadata"]["labels"].get("somebody") == "else"
        wait_until(lambda: state(person) == "Ready", f"Ready after {path}")


def test_the_webhook_servers_certificate_is_back_with_the_next_look(person: Person, environment: Environment) -> None:
    before = person.get(SERVING)
    person.delete(SERVING)
    cr = f"/apis/operator.kyma-project.io/v1alpha1/namespaces/{KYMA_NAMESPACE}/btpoperators/btpoperator"
    environment.cluster.request("PATCH", cr, {"metadata": {"labels": {"look": "again"}}}, MERGE)
    wait_until(lambda: person.get(SERVING), "the certificate to be back")
    assert essence(person.get(SERVING)) == essence(before)
    wait_until(lambda: state(person) == "Ready", "the CR to be Ready again")


def test_an_operand_that_loses_its_pods_takes_the_cr_out_of_ready_and_back(person: Person) -> None:
    for pod in (person.get(PODS) or {})["items"]:
        person.delete(f"{PODS}/{pod['metadata']['name']}")

    def said() -> bool:
        status = person.status("btpoperator")
        return status is not None and status.state != "Ready" and "sap-btp-operator" in status.message

    wait_until(said, "the CR to leave Ready and say why")
    wait_until(lambda: state(person) == "Ready", "the CR to be Ready again")


def test_a_changed_cluster_id_reaches_the_operand_and_restarts_its_pods(person: Person) -> None:
    before = {pod["metadata"]["uid"] for pod in (person.get(PODS) or {})["items"]}
    person.put_secret({**CREDENTIALS, "cluster_id": "another"})
    config = f"/api/v1/namespaces/{KYMA_NAMESPACE}/configmaps/sap-btp-operator-config"
    wait_until(lambda: (person.get(config) or {})["data"]["CLUSTER_ID"] == "another", "the operand's configuration")
    wait_until(lambda: not before & {pod["metadata"]["uid"] for pod in (person.get(PODS) or {})["items"]}, "new pods")
    wait_until(lambda: state(person) == "Ready", "the CR to be Ready again")


def test_a_changed_client_secret_reaches_the_operand(person: Person) -> None:
    person.put_secret({**CREDENTIALS, "clientsecret": "rotated"})
    path = f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets/sap-btp-service-operator"
    wait_until(lambda: (person.get(path) or {})["data"]["clientsecret"] == "cm90YXRlZA==", "the rotated secret")


ADDS_A_PROXY = """
Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
  containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{
    name: c.name, image: c.image.replace("ghcr.io/", "mirror.example/"),
    env: [Object.spec.template.spec.containers.env{name: "HTTPS_PROXY", value: "http://proxy:3128"}]
  })}}}}"""
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


def test_a_policy_that_rewrites_the_deployment_leaves_the_cr_ready_and_silent(
    person: Person, environment: Environment
) -> None:
    """Its operator is nudged again and again: no change of the condition, no Event, no write of the status."""
    cluster = environment.cluster
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": ADDS_A_PROXY}}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [mutation],
    }
    binding = {"metadata": {"name": "theirs"}, "spec": {"policyName": "theirs"}}
    cluster.request("POST", f"{ADMISSION}/mutatingadmissionpolicies", {"metadata": {"name": "theirs"}, "spec": spec})
    cluster.request("POST", f"{ADMISSION}/mutatingadmissionpolicybindings", binding)

    def mutated() -> bool:
        touch = {"metadata": {"annotations": {"touched": str(time.monotonic())}}}
        spec = cluster.request("PATCH", DEPLOYMENT, touch, MERGE)["spec"]
        return "HTTPS_PROXY" in str(spec) and "mirror.example" in str(spec)

    operator = "/apis/operator.kyma-project.io/v1alpha1/namespaces/kyma-system/btpoperators/btpoperator"
    try:
        wait_until(mutated, "the policy to be in force")
        wait_until(lambda: (person.get(DEPLOYMENT) or {})["status"].get("updatedReplicas") == 1, "the new pods")
        time.sleep(3)  # the roll-out itself may take the CR out of Ready
        wait_until(lambda: state(person) == "Ready", "the CR to be Ready")
        before, events = (person.get(operator) or {})["status"], len(told(person))
        for number in range(5):
            nudge = {"metadata": {"annotations": {"nudge": str(number)}}}
            version = cluster.request("PATCH", operator, nudge, MERGE)["metadata"]["resourceVersion"]
            time.sleep(1)
            found = person.get(operator) or {}
            assert (found["metadata"]["resourceVersion"], found["status"]) == (version, before)
        assert len(told(person)) == events
        assert "mirror.example" in str((person.get(DEPLOYMENT) or {})["spec"])
    finally:
        person.delete(f"{ADMISSION}/mutatingadmissionpolicybindings/theirs")
        person.delete(f"{ADMISSION}/mutatingadmissionpolicies/theirs")


def told(person: Person) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = (person.get(f"/api/v1/namespaces/{KYMA_NAMESPACE}/events") or {})["items"]
    return [event for event in events if event["involvedObject"]["kind"] == "BtpOperator"]
