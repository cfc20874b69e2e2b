"""The operand's chart against the facts it is written from, rendered by the real Helm."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from kube.resources import APPLY_WAVES, CHART_KINDS, chart_kind
from localcluster.client import CREDENTIALS
from models.names import MANAGED_BY, MANAGED_BY_LABEL, OPERAND_DEPLOYMENT
from operand.credentials import Credentials
from operand.rendering import ChartRenderer, RenderError
from tests.cluster import encoded
from tests.conftest import OPERAND_CHART

WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def values(**manager: object) -> dict[str, Any]:
    chart = Credentials({"data": encoded(CREDENTIALS)}).values()
    chart["manager"] |= {"webhook": {"caBundle": "Zm9v"}, **manager}
    return chart


@pytest.fixture
async def objects() -> dict[tuple[str, str], dict[str, Any]]:
    rendered = await ChartRenderer(OPERAND_CHART).render(values())
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in rendered}


def test_helm_finds_nothing_to_complain_about() -> None:
    result = subprocess.run(
        ["helm", "lint", "--strict", str(OPERAND_CHART)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_it_renders_what_the_facts_list_and_nothing_else(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert set(objects) == {
        ("ConfigMap", "sap-btp-operator-config"),
        ("CustomResourceDefinition", "servicebindings.services.cloud.sap.com"),
        ("CustomResourceDefinition", "serviceinstances.services.cloud.sap.com"),
        ("Deployment", "sap-btp-operator-controller-manager"),
        ("ClusterRole", "sap-btp-operator-manager-role"),
        ("ClusterRoleBinding", "sap-btp-operator-manager-rolebinding"),
        ("Role", "sap-btp-operator-leader-election-role"),
        ("RoleBinding", "sap-btp-operator-leader-election-rolebinding"),
        ("Secret", "sap-btp-service-operator"),
        ("Service", "sap-btp-operator-webhook-service"),
        ("Service", "sap-btp-operator-controller-manager-metrics-service"),
        ("ServiceAccount", "sap-btp-operator"),
        ("NetworkPolicy", "kyma-project.io--btp-operator-allow-to-apiserver"),
        ("NetworkPolicy", "kyma-project.io--btp-operator-to-dns"),
        ("NetworkPolicy", "kyma-project.io--allow-btp-operator-metrics"),
        ("NetworkPolicy", "kyma-project.io--allow-btp-operator-webhook"),
        ("MutatingWebhookConfiguration", "sap-btp-operator-mutating-webhook-configuration"),
        ("ValidatingWebhookConfiguration", "sap-btp-operator-validating-webhook-configuration"),
    }


def test_every_object_carries_our_label_and_a_kind_that_is_applied(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    for obj in objects.values():
        assert obj["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGED_BY
        assert any(chart_kind(obj) in wave for wave in APPLY_WAVES)
    assert {kind for wave in APPLY_WAVES for kind in wave} == set(CHART_KINDS)


def test_the_secrets_data_arrives_where_the_operand_looks_for_it(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    data = encoded(CREDENTIALS | {"tokenurlsuffix": "/oauth/token"})
    assert objects["ConfigMap", "sap-btp-operator-config"]["data"]["CLUSTER_ID"] == CREDENTIALS["cluster_id"]
    del data["cluster_id"]
    assert objects["Secret", "sap-btp-service-operator"]["data"] == data


def test_webhooks_trust_our_ca_and_fail_closed(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    hooks = [hook for (kind, _), obj in objects.items() if kind in WEBHOOKS for hook in obj["webhooks"]]
    assert {hook["name"] for hook in hooks} == {
        "mservicebinding.kb.io",
        "mserviceinstance.kb.io",
        "vservicebinding.kb.io",
        "vserviceinstance.kb.io",
    }
    for hook in hooks:
        assert hook["clientConfig"]["caBundle"] == "Zm9v" and hook["failurePolicy"] == "Fail"
        deletes = "DELETE" in hook["rules"][0]["operations"]
        assert deletes == (hook["name"] == "vserviceinstance.kb.io")


def test_the_operand_runs_restricted_with_its_certificate_mounted(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    pod = objects["Deployment", OPERAND_DEPLOYMENT]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["priorityClassName"] == "kyma-system"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["volumes"][0]["secret"]["secretName"] == "webhook-server-cert"
    assert container["volumeMounts"][0]["mountPath"] == "/tmp/k8s-webhook-server/serving-certs"  # noqa: S108


async def test_a_changed_configuration_restarts_the_operand_and_changed_credentials_do_not() -> None:
    renderer = ChartRenderer(OPERAND_CHART)

    async def template(**manager: object) -> dict[str, Any]:
        rendered = await renderer.render(values(**manager))
        return next(obj["spec"]["template"] for obj in rendered if obj["kind"] == "Deployment")

    assert await template(enable_limited_cache=False) != await template()
    assert await template(secret={"data": {"clientid": "eA=="}}) == await template()


async def test_the_image_can_be_set_from_outside() -> None:
    rendered = await ChartRenderer(OPERAND_CHART, image="registry.example/operand:1").render(values())
    deployment = next(obj for obj in rendered if obj["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/operand:1"


@pytest.mark.parametrize(
    "wrong", [{"replica_count": 0}, {"memory_limit": "lots"}, {"no_such_value": 1}, {"management_namespace": "No!"}]
)
async def test_the_schema_refuses_wrong_values_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(RenderError) as error:
        await ChartRenderer(OPERAND_CHART).render(values(**wrong))
    assert next(iter(wrong)) in str(error.value)


def test_every_value_is_in_the_schema_and_explained() -> None:
    text = (OPERAND_CHART / "values.yaml").read_text()
    schema = json.loads((OPERAND_CHART / "values.schema.json").read_text())
    manager = yaml.safe_load(text)["manager"]
    assert set(manager) == set(schema["properties"]["manager"]["properties"])
    assert text.count("#") > len(manager) / 2


async def test_the_operand_looks_after_all_namespaces_and_another_wish_is_refused() -> None:
    rendered = await ChartRenderer(OPERAND_CHART).render(values())
    (config,) = [obj for obj in rendered if obj["kind"] == "ConfigMap"]
    assert config["data"]["ALLOW_CLUSTER_ACCESS"] == "true"
    with pytest.raises(RenderError, match="allow_cluster_access"):
        await ChartRenderer(OPERAND_CHART).render(values(allow_cluster_access=False))
