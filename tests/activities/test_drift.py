"""Drift is what an apply would change, as the API server sees it. Against a real one, with real admission policies."""

import contextlib
import json
import shutil
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.answers import Object
from kube.client import Kube
from kube.request import REQUESTS
from kube.resources import CHART_KINDS, CONFIG_MAPS, DEPLOYMENTS, VALIDATING_WEBHOOKS
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import ControlPlane
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, MANAGED_SELECTOR, OPERAND_CONFIG, OPERAND_DEPLOYMENT
from models.provision import Survey
from operand.ownership import written_by_us
from operand.rendering import ChartRenderer
from tests.activities.steps import Steps
from tests.cluster import encoded
from tests.conftest import OPERAND_CHART, Eventually

HOOKS = "sap-btp-operator-validating-webhook-configuration"
POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
ADDS_A_PROXY = """
Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
  containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{
    name: c.name, env: [Object.spec.template.spec.containers.env{name: "HTTPS_PROXY", value: "http://proxy:3128"}]
  })}}}}"""
REWRITES_THE_REGISTRY = """
Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
  containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers{
    name: c.name, image: c.image.replace("ghcr.io/", "mirror.example/")
  })}}}}"""
ADDS_AN_ARGUMENT = """
[JSONPatch{op: "add", path: "/spec/template/spec/containers/0/args/-", value: "--theirs"}]"""


@pytest.fixture
def chart_arguments() -> tuple[str, ...]:
    """The image may come from the mirror too, as docs/security.md says of clusters whose policies rewrite it."""
    images = [f"{registry}/sap/sap-btp-service-operator/controller" for registry in ("ghcr.io", "mirror.example")]
    return "--set-json", f"admissionPolicy.operandImages={json.dumps(images)}"


class Policy:
    """A MutatingAdmissionPolicy for Deployments."""

    def __init__(self, cluster: ControlPlane, expression: str) -> None:
        self._cluster = cluster
        how = "jsonPatch" if "JSONPatch" in expression else "applyConfiguration"
        kind = "JSONPatch" if "JSONPatch" in expression else "ApplyConfiguration"
        guard = [
            {"name": "once", "expression": "!object.spec.template.spec.containers[0].args.exists(a, a == '--theirs')"}
        ]
        rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
        cluster.request(
            "POST",
            POLICIES,
            {
                "metadata": {"name": "theirs"},
                "spec": {
                    "matchConstraints": {"resourceRules": [rule]},
                    "matchConditions": guard,
                    "failurePolicy": "Fail",
                    "reinvocationPolicy": "Never",
                    "mutations": [{"patchType": kind, how: {"expression": expression}}],
                },
            },
        )
        cluster.request("POST", BINDINGS, {"metadata": {"name": "theirs"}, "spec": {"policyName": "theirs"}})

    def remove(self) -> None:
        for path in (BINDINGS, POLICIES):
            with contextlib.suppress(urllib.error.HTTPError):  # removed already
                self._cluster.request("DELETE", f"{path}/theirs")


@pytest.fixture(params=[ADDS_A_PROXY, REWRITES_THE_REGISTRY, ADDS_AN_ARGUMENT], ids=["proxy", "registry", "argument"])
def policy(request: pytest.FixtureRequest, control_plane: ControlPlane, kube: Kube) -> Iterator[Policy]:
    policy = Policy(control_plane, request.param)
    yield policy
    policy.remove()


def asked_for() -> float:
    """Applies of the Deployment by this process, dry runs included."""
    return sum(
        sample.value
        for metric in REQUESTS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
        and sample.labels["verb"] in ("apply", "dry-run")
        and sample.labels["kind"] == "Deployment"
    )


async def look(steps: Steps, mandate: Mandate) -> Survey:
    return await steps.check_drift(mandate)


def told(deployment: Object) -> tuple[Any, Any]:
    """What stands in it, without its status: what a person would call a change."""
    return deployment["spec"], deployment["metadata"]["generation"]


async def test_what_admission_adds_or_rewrites_is_not_drift_and_is_asked_for_once(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str], policy: Policy, eventually: Eventually
) -> None:
    async def mutated() -> bool:
        await kube.delete(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
        await steps.apply(mandate)
        container = (await deployment(kube))["spec"]["template"]["spec"]["containers"][0]
        return any(word in str(container) for word in ("HTTPS_PROXY", "mirror.example", "--theirs"))

    await eventually(mutated)  # a new policy takes a moment
    await steps.wait_ready(mandate)
    before = told(await deployment(kube))
    assert (await look(steps, mandate)).drifted == []
    asked = asked_for()
    for _ in range(3):
        assert (await look(steps, mandate)).drifted == []
    assert asked_for() == asked
    assert (await steps.apply(mandate)).written == []
    assert told(await deployment(kube)) == before


@pytest.fixture
def rewriting(control_plane: ControlPlane, kube: Kube) -> Iterator[Policy]:
    policy = Policy(control_plane, REWRITES_THE_REGISTRY)
    yield policy
    policy.remove()


async def test_an_apply_that_admission_turns_into_nothing_is_not_counted_as_written_until_the_policy_goes(
    kube: Kube,
    worker: Kube,
    renderer: ChartRenderer,
    mandate: Mandate,
    credentials: dict[str, str],
    rewriting: Policy,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def mutated() -> bool:
        await kube.delete(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
        await Steps(worker, renderer).apply(mandate)
        return "mirror.example" in str(await deployment(kube))

    await eventually(mutated)
    monkeypatch.setattr("operand.drift.BELIEVED_FOR", 0.0)
    steps = Steps(worker, renderer)  # another process, which remembers nothing
    again = await steps.apply(mandate)
    assert again.written == [] and again.unchanged == 14
    rewriting.remove()
    name = f"Deployment {KYMA_NAMESPACE}/{OPERAND_DEPLOYMENT}"

    async def noticed() -> bool:
        return (await look(steps, mandate)).drifted == [name]

    await eventually(noticed)
    assert (await steps.apply(mandate)).written == [name]
    assert "mirror.example" not in str((await deployment(kube))["spec"])


async def test_values_that_the_server_spells_differently_and_items_of_others_are_not_drift(
    kube: Kube,
    worker: Kube,
    control_plane: ControlPlane,
    mandate: Mandate,
    credentials: dict[str, str],
    spelled: ChartRenderer,
    eventually: Eventually,
) -> None:
    steps = Steps(worker, spelled)
    await steps.apply(mandate)
    theirs = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}
    path = DEPLOYMENTS.path(KYMA_NAMESPACE, OPERAND_DEPLOYMENT) + "?fieldManager=proxy-injector"
    change = [{"op": "add", "path": "/spec/template/spec/containers/0/env/0", "value": theirs}]
    control_plane.request("PATCH", path, change, "application/json-patch+json")

    async def no_drift() -> bool:  # the rollout that their change starts may change the object under one look
        return (await look(steps, mandate)).drifted == []

    await eventually(no_drift)
    assert (await steps.apply(mandate)).written == []
    assert theirs in (await deployment(kube))["spec"]["template"]["spec"]["containers"][0]["env"]


async def test_objects_that_lost_our_ownership_are_taken_over_again(
    steps: Steps, kube: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    for kind, obj in await of_the_chart(kube):
        meta = obj["metadata"]
        forget = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
        await kube.json_patch(kind, meta["name"], meta.get("namespace"), forget)
    assert not any(written_by_us(obj) for _, obj in await of_the_chart(kube))
    lost = (await look(steps, mandate)).drifted
    assert len(lost) == 14
    assert sorted((await steps.apply(mandate)).written) == sorted(lost)
    assert all(written_by_us(obj) for _, obj in await of_the_chart(kube))
    assert (await look(steps, mandate)).drifted == []
    await kube.merge(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE, {"data": {"ENABLE_LIMITED_CACHE": "false"}})
    assert (await look(steps, mandate)).drifted == [f"ConfigMap {KYMA_NAMESPACE}/{OPERAND_CONFIG}"]


async def test_who_changes_a_field_back_is_named_with_object_and_field(
    steps: Steps, kube: Kube, person: Person, mandate: Mandate, credentials: dict[str, str]
) -> None:
    await steps.apply(mandate)
    await steps.apply(mandate)
    path = VALIDATING_WEBHOOKS.path(name=HOOKS) + "?fieldManager=cainjector"
    change = [{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": encoded({"x": "other"})["x"]}]
    person._cluster.request("PATCH", path, change, "application/json-patch+json")
    (contest,) = (await steps.apply(mandate)).contested
    assert contest.object == f"ValidatingWebhookConfiguration {HOOKS}" and contest.manager == "cainjector"
    assert contest.field == "webhooks[vservicebinding.kb.io].clientConfig.caBundle"
    person.put_secret(CREDENTIALS | {"clientsecret": "rotated at once"})
    applied = await steps.apply(mandate)
    assert applied.written and applied.contested == []  # our own wish has changed


@pytest.fixture
def spelled(tmp_path: Path) -> ChartRenderer:
    """The chart with quantities that the API server spells in another way."""
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    values = chart / "values.yaml"
    values.write_text(values.read_text().replace('cpu_limit: "1"', 'cpu_limit: "1000m"', 1))
    return ChartRenderer(chart, rbac=False)


async def deployment(kube: Kube) -> Object:
    return await kube.get(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)


async def of_the_chart(kube: Kube) -> list[tuple[Any, Object]]:
    """Every applied object apart from the certificates, which are not rendered."""
    return [
        (kind, obj)
        for kind in CHART_KINDS
        for obj in (await kube.list(kind, labels=MANAGED_SELECTOR)).items
        if obj["metadata"]["name"] not in ("ca-server-cert", "webhook-server-cert")
    ]
