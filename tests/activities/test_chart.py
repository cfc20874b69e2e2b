"""Applying the chart: only what differs, and what is refused by name. Against a real API server."""

import base64
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from kube.answers import Object
from kube.client import Kube
from kube.request import REQUESTS
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NETWORK_POLICIES,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICES,
    VALIDATING_WEBHOOKS,
)
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import ControlPlane
from models.conditions import Reason
from models.mandate import Mandate
from models.names import (
    CA_SECRET,
    DISABLE_NETWORK_POLICIES_ANNOTATION,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MANAGED_SELECTOR,
    OPERAND_CA_CERTIFICATES,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_CREDENTIALS_SECRET,
    OPERAND_DEPLOYMENT,
    WEBHOOK_CERT_SECRET,
)
from operand import pki
from operand.rendering import ChartRenderer
from tests.acting import administrator
from tests.activities.steps import Steps
from tests.cluster import encoded, ensure_namespace
from tests.conftest import OPERAND_CHART

ROLE = "sap-btp-operator-manager-role"
CONFIG, SERVICE = "sap-btp-operator-config", "sap-btp-operator-webhook-service"
ELSEWHERE = ("credentials-elsewhere", "123")


@pytest.fixture
async def chart_arguments(kube: Kube) -> tuple[str, ...]:
    """Credentials may move to these namespaces."""
    names = [await ensure_namespace(kube, name) for name in ELSEWHERE]
    return "--set-json", f"credentialsNamespaces={json.dumps(names)}"


@pytest.fixture
def outside(kube: Kube) -> Steps:
    """A worker that somebody runs outside of the chart."""
    return Steps(administrator(kube, "it gives the operand its rights"), ChartRenderer(OPERAND_CHART))


async def test_the_chart_is_applied_becomes_ready_and_a_second_time_nothing_is_sent(
    steps: Steps, mandate: Mandate, credentials: dict[str, str]
) -> None:
    first = await steps.apply(mandate)
    assert len(first.written) == 14 and first.unchanged == 0
    await steps.wait_ready(mandate)
    writes = writes_so_far()
    second = await steps.apply(mandate)
    assert second.written == second.pruned == [] and second.unchanged == 14
    survey = await steps.check_drift(mandate)
    assert survey.drifted == [] and survey.unready == []
    assert writes_so_far() == writes


async def test_drift_is_found_and_mended_and_what_others_added_stays(
    steps: Steps, kube: Kube, control_plane: ControlPlane, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await kube.delete(SERVICES, SERVICE, KYMA_NAMESPACE)
    path, data = CONFIG_MAPS.path(KYMA_NAMESPACE, CONFIG), {"CLUSTER_ID": "wrong", "THEIRS": "kept"}
    control_plane.request("PATCH", f"{path}?fieldManager=theirs", {"data": data}, "application/merge-patch+json")
    drifted = (await steps.check_drift(mandate)).drifted
    assert sorted(drifted) == [
        f"ConfigMap {KYMA_NAMESPACE}/{CONFIG}",
        f"Service {KYMA_NAMESPACE}/{SERVICE}",
    ]
    assert sorted((await steps.apply(mandate)).written) == sorted(drifted)
    data = (await kube.get(CONFIG_MAPS, CONFIG, KYMA_NAMESPACE))["data"]
    assert data["CLUSTER_ID"] == CREDENTIALS["cluster_id"] and data["THEIRS"] == "kept"


async def test_a_cr_may_do_without_network_policies_and_get_them_back(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    async def policies() -> int:
        return len((await kube.list(NETWORK_POLICIES, KYMA_NAMESPACE, labels=MANAGED_SELECTOR)).items)

    async def annotate(value: str | None) -> None:
        annotations = {DISABLE_NETWORK_POLICIES_ANNOTATION: value}
        await kube.merge(
            BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace, {"metadata": {"annotations": annotations}}
        )

    await steps.apply(mandate)
    assert await policies() == 4
    await annotate("True")
    drifted = (await steps.check_drift(mandate)).drifted
    assert len(drifted) == 4 and all("no longer part of the chart" in name for name in drifted)
    assert len((await steps.apply(mandate)).pruned) == 4 and await policies() == 0
    assert (await steps.check_drift(mandate)).drifted == []
    await annotate(None)
    assert len((await steps.apply(mandate)).written) == 4 and await policies() == 4


async def test_what_an_earlier_chart_rendered_goes_and_what_only_looks_like_it_stays(
    steps: Steps, kube: Kube, control_plane: ControlPlane, mandate: Mandate, credentials: dict[str, str]
) -> None:
    def config(name: str, labels: dict[str, str]) -> Object:
        meta = {"name": name, "namespace": KYMA_NAMESPACE, "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "b"}}

    def crd(labels: dict[str, str]) -> Object:
        names = {"plural": "relics", "kind": "Relic"}
        schema = {"openAPIV3Schema": {"type": "object"}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
        kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        return {**kind, "metadata": {"name": "relics.example.com", "labels": labels}, "spec": spec}

    def role(name: str) -> Object:
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        return {**kind, "metadata": {"name": name, "labels": label}, "rules": []}

    label = {MANAGED_BY_LABEL: MANAGED_BY}
    earlier, held = "sap-btp-operator-metrics-reader", "sap-btp-operator-proxy-role"
    await kube.apply(CLUSTER_ROLES, role(earlier))
    await kube.apply(CONFIG_MAPS, config("claims-to-be-ours", label))  # whoever may write it may name our field manager
    await kube.apply(CUSTOM_RESOURCE_DEFINITIONS, crd(label))
    control_plane.request("POST", CONFIG_MAPS.path(KYMA_NAMESPACE), config("of-a-user", label))
    try:
        assert (await steps.apply(mandate)).pruned == [f"ClusterRole {earlier}"]
        assert await kube.find(CLUSTER_ROLES, earlier) is None
        for name in ("claims-to-be-ours", "of-a-user"):
            assert await kube.find(CONFIG_MAPS, name, KYMA_NAMESPACE)
        await kube.apply(CLUSTER_ROLES, role(held))
        await kube.merge(CLUSTER_ROLES, held, None, {"metadata": {"finalizers": ["example.com/theirs"]}})
        assert (await steps.apply(mandate)).pruned == [f"ClusterRole {held}"]
        assert (await steps.apply(mandate)).pruned == []  # asked for already: somebody's finalizer is no drift
        assert await kube.find(CUSTOM_RESOURCE_DEFINITIONS, "relics.example.com")  # it would take users' objects along
    finally:
        await kube.merge(CLUSTER_ROLES, held, None, {"metadata": {"finalizers": None}})
        for name in ("claims-to-be-ours", "of-a-user"):
            await kube.delete(CONFIG_MAPS, name, KYMA_NAMESPACE)
        await kube.delete(CUSTOM_RESOURCE_DEFINITIONS, "relics.example.com")


async def test_new_credentials_reach_the_operand_without_restarting_it(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    person.put_secret(CREDENTIALS | {"clientsecret": "rotated"})
    assert (await steps.apply(mandate)).written == [f"Secret {KYMA_NAMESPACE}/{OPERAND_CREDENTIALS_SECRET}"]
    data = (await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE))["data"]
    assert base64.b64decode(data["clientsecret"]) == b"rotated"


async def test_another_cluster_id_restarts_the_operand_and_forgets_the_one_it_remembers(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    person.put_secret({"INITIAL_CLUSTER_ID": CREDENTIALS["cluster_id"]}, name=OPERAND_CLUSTER_ID_SECRET)
    person.put_secret(CREDENTIALS | {"cluster_id": "another"})
    assert f"Deployment {KYMA_NAMESPACE}/{OPERAND_DEPLOYMENT}" in (await steps.apply(mandate)).written
    assert await kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, KYMA_NAMESPACE) is None


async def test_credentials_that_move_to_another_namespace_do_not_stay_behind(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, credentials: dict[str, str]
) -> None:
    elsewhere = ELSEWHERE[0]
    await steps.apply(mandate)
    person.put_secret(CREDENTIALS | {"credentials_namespace": elsewhere})
    await steps.apply(mandate)
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, elsewhere)
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE) is None


async def test_certificates_are_kept_while_valid(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    before = [(await kube.get(SECRETS, name, KYMA_NAMESPACE))["data"] for name in (CA_SECRET, WEBHOOK_CERT_SECRET)]
    await steps.apply(mandate)
    assert [
        (await kube.get(SECRETS, name, KYMA_NAMESPACE))["data"] for name in (CA_SECRET, WEBHOOK_CERT_SECRET)
    ] == before
    assert set(before[0]) == {"ca.crt"}  # nobody needs the CA's key again


async def trusted(kube: Kube) -> str:
    """What every webhook of the operand trusts, in base64."""
    bundles = set()
    for kind, name in ((VALIDATING_WEBHOOKS, "validating"), (MUTATING_WEBHOOKS, "mutating")):
        configuration = await kube.get(kind, f"sap-btp-operator-{name}-webhook-configuration")
        bundles |= {hook["clientConfig"]["caBundle"] for hook in configuration["webhooks"]}
    (bundle,) = bundles
    return str(bundle)


@pytest.mark.parametrize("how", ["lost", "broken", "another CA's"])
async def test_what_is_being_served_stays_trusted_when_the_secret_of_the_ca_is_lost_or_broken(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str], how: str
) -> None:
    await steps.apply(mandate)
    bundle = await trusted(kube)
    serving = await kube.get(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE)
    _, another = pki.new_serving(["a"], datetime.now(UTC))
    if how == "lost":
        await kube.delete(SECRETS, CA_SECRET, KYMA_NAMESPACE)
    else:
        text = "junk" if how == "broken" else another.decode()
        await kube.merge(SECRETS, CA_SECRET, KYMA_NAMESPACE, {"data": encoded({"ca.crt": text})})
    assert (await steps.check_drift(mandate)).drifted == ["the webhook certificates"]
    await steps.apply(mandate)
    assert (await kube.get(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE))["data"] == serving["data"]
    assert base64.b64decode(bundle) in base64.b64decode(await trusted(kube))
    assert (await steps.check_drift(mandate)).drifted == []


async def test_a_pod_that_still_serves_the_former_certificate_is_trusted_when_both_secrets_are_lost(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    before = base64.b64decode(await trusted(kube))
    for name in (CA_SECRET, WEBHOOK_CERT_SECRET):
        await kube.delete(SECRETS, name, KYMA_NAMESPACE)
    await steps.apply(mandate)
    after = base64.b64decode(await trusted(kube))
    assert after.endswith(before) and len(after) > len(before)
    stored = (await kube.get(SECRETS, CA_SECRET, KYMA_NAMESPACE))["data"]["ca.crt"]
    assert base64.b64decode(stored) == after


async def test_the_key_of_a_ca_that_another_manager_left_is_removed_and_its_certificate_kept(
    steps: Steps, kube: Kube, control_plane: ControlPlane, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    before = (await kube.get(SECRETS, CA_SECRET, KYMA_NAMESPACE))["data"]
    path = f"{SECRETS.path(KYMA_NAMESPACE, CA_SECRET)}?fieldManager=theirs"
    control_plane.request("PATCH", path, {"data": encoded({"ca.key": "key"})}, "application/merge-patch+json")
    assert (await steps.check_drift(mandate)).drifted == ["the webhook certificates"]
    await steps.apply(mandate)
    assert (await kube.get(SECRETS, CA_SECRET, KYMA_NAMESPACE))["data"] == before


async def test_a_missing_priority_class_is_named(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await kube.delete(PRIORITY_CLASSES, "kyma-system")
    with pytest.raises(ApplicationError, match="PriorityClass kyma-system does not exist") as error:
        await steps.apply(mandate)
    assert error.value.type == Reason.MISSING_PRIORITY_CLASS and error.value.non_retryable


async def test_an_object_that_the_api_refuses_is_named(
    worker: Kube, tmp_path: Path, mandate: Mandate, credentials: dict[str, str]
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    services = chart / "templates" / "services.yaml"
    services.write_text(services.read_text().replace("port: 8080", "port: 99999"))
    with pytest.raises(ApplicationError, match="Service kyma-system/sap-btp-operator-controller-manager-metr") as error:
        await Steps(worker, ChartRenderer(chart, rbac=False)).apply(mandate)
    assert error.value.type == Reason.CHART_INSTALL_FAILED and "99999" in str(error.value)


@pytest.mark.parametrize(
    "template", ['{{ fail (printf "%v" .Values) }}', "{{ .Values.no.such.value }}", "kind: [", "{{ unclosed"]
)
async def test_a_chart_that_does_not_render_says_so_without_any_value_of_the_secret(
    worker: Kube, tmp_path: Path, person: Person, mandate: Mandate, template: str
) -> None:
    canaries = {key: f"https://canary-{key}-value" for key in CREDENTIALS}
    person.put_secret(canaries)
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    (chart / "templates" / "broken.yaml").write_text(template)
    with pytest.raises(ApplicationError) as error:
        await Steps(worker, ChartRenderer(chart, rbac=False)).apply(mandate)
    assert error.value.type == Reason.PREPARING_INSTALL_INFO_FAILED
    text = str(error.value)
    assert "does not render" in text and error.value.__cause__ is None
    for value in [*canaries.values(), *encoded(canaries).values()]:
        assert value not in text


FOREIGN = [
    ("secret.yaml", "range $key, $value := .Values.manager.secret.data", "range $key, $value := dict", "clientid"),
    ("configmap.yaml", ".Values.cluster.id", '"theirs"', "cluster.id as CLUSTER_ID"),
    ("_helpers.tpl", "with .root.Values.manager.webhook.caBundle", "with list", "manager.webhook.caBundle"),
]


@pytest.mark.parametrize(("file", "ours", "theirs", "says"), FOREIGN, ids=[file for file, *_ in FOREIGN])
async def test_a_chart_with_values_of_its_own_is_refused_before_anything_is_applied(
    kube: Kube,
    worker: Kube,
    tmp_path: Path,
    mandate: Mandate,
    credentials: dict[str, str],
    file: str,
    ours: str,
    theirs: str,
    says: str,
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    template = chart / "templates" / file
    assert ours in template.read_text()
    template.write_text(template.read_text().replace(ours, theirs))
    with pytest.raises(Exception, match=says) as error:
        await Steps(worker, ChartRenderer(chart, rbac=False)).apply(mandate)
    assert "does not use its values" in str(error.value)
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE) is None


async def test_a_chart_that_loses_a_users_value_is_refused_before_anything_is_applied(
    kube: Kube, worker: Kube, tmp_path: Path, mandate: Mandate, credentials: dict[str, str]
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    template = chart / "templates" / "deployment.yaml"
    template.write_text(template.read_text().replace("with $manager.tolerations", "with list"))
    given = {"manager": {"tolerations": [{"operator": "Exists"}]}}
    with pytest.raises(ApplicationError, match=r"does not have manager\.tolerations") as error:
        await Steps(worker, ChartRenderer(chart, given=given, rbac=False)).apply(mandate)
    assert error.value.type == Reason.PREPARING_INSTALL_INFO_FAILED
    assert await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE) is None


async def test_custom_certificates_come_and_go_with_the_value(
    kube: Kube, worker: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    given = {"manager": {"customCACerts": [pki.new_serving(["example.com"], datetime.now(UTC))[1].decode()]}}
    await Steps(worker, ChartRenderer(OPERAND_CHART, given=given, rbac=False)).apply(mandate)
    assert await kube.find(CONFIG_MAPS, OPERAND_CA_CERTIFICATES, KYMA_NAMESPACE)
    applied = await Steps(worker, ChartRenderer(OPERAND_CHART, rbac=False)).apply(mandate)
    assert applied.pruned == [f"ConfigMap {KYMA_NAMESPACE}/{OPERAND_CA_CERTIFICATES}"]
    assert applied.written == [f"Deployment {KYMA_NAMESPACE}/{OPERAND_DEPLOYMENT}"]


async def test_what_somebody_installed_with_a_field_that_nobody_can_change_is_replaced(
    outside: Steps, kube: Kube, control_plane: ControlPlane, mandate: Mandate, credentials: dict[str, str]
) -> None:
    name = "sap-btp-operator-manager-rolebinding"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    control_plane.request("POST", CLUSTER_ROLE_BINDINGS.path(), {"metadata": {"name": name}, "roleRef": role})
    labels = {"app": "of-a-plain-installation"}
    containers = [{"name": "operator", "image": "example.com/operator"}]
    pods = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    theirs = {"metadata": {"name": OPERAND_DEPLOYMENT}, "spec": {"selector": {"matchLabels": labels}, "template": pods}}
    control_plane.request("POST", DEPLOYMENTS.path(KYMA_NAMESPACE), theirs)
    await outside.apply(mandate)
    assert (await kube.get(CLUSTER_ROLE_BINDINGS, name))["roleRef"]["name"] == ROLE
    replaced = (await kube.get(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE))["spec"]["selector"]["matchLabels"]
    assert "app" not in replaced
    await outside.wait_ready(mandate)


async def test_what_somebody_made_immutable_is_replaced_when_it_has_to_change_and_not_before(
    steps: Steps,
    kube: Kube,
    control_plane: ControlPlane,
    person: Person,
    mandate: Mandate,
    credentials: dict[str, str],
) -> None:
    async def uids() -> list[str]:
        found = [await kube.get(resource, name, KYMA_NAMESPACE) for resource, name in sealed]
        return [obj["metadata"]["uid"] for obj in found]

    sealed = [(CONFIG_MAPS, CONFIG), (SECRETS, OPERAND_CREDENTIALS_SECRET)]
    await steps.apply(mandate)
    for resource, name in sealed:
        path, seal = resource.path(KYMA_NAMESPACE, name), {"immutable": True}
        control_plane.request("PATCH", f"{path}?fieldManager=theirs", seal, "application/merge-patch+json")
    before = await uids()
    assert (await steps.apply(mandate)).written == [] and await uids() == before
    person.put_secret(credentials | {"clientid": "another", "cluster_id": "another"})
    await steps.apply(mandate)
    assert (await kube.get(CONFIG_MAPS, CONFIG, KYMA_NAMESPACE))["data"]["CLUSTER_ID"] == "another"
    data = (await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE))["data"]
    assert base64.b64decode(data["clientid"]) == b"another"
    assert not set(await uids()) & set(before) and (await steps.check_drift(mandate)).drifted == []


async def test_names_and_keys_that_yaml_would_read_as_something_else_stay_text(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate
) -> None:
    elsewhere = ELSEWHERE[1]
    person.put_secret(
        CREDENTIALS | {"credentials_namespace": elsewhere, "on": "yes", "1e3": "1e3", "cluster_id": "1e3"}
    )
    await steps.apply(mandate)
    data = (await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, elsewhere))["data"]
    assert base64.b64decode(data["on"]) == b"yes" and base64.b64decode(data["1e3"]) == b"1e3"
    assert (await kube.get(CONFIG_MAPS, CONFIG, KYMA_NAMESPACE))["data"]["RELEASE_NAMESPACE"] == "123"
    await kube.delete(SECRETS, OPERAND_CREDENTIALS_SECRET, elsewhere)


def writes_so_far() -> float:
    """Requests of this process that could have changed something."""
    verbs = ("apply", "create", "patch", "delete", "deletecollection")
    return sum(
        sample.value
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["verb"] in verbs
    )
