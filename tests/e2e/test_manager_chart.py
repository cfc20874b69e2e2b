"""chart/btp-manager as a platform team uses it: linted, installed, upgraded and uninstalled by real Helm."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from activities.chart import ChartActivities
from activities.teardown import TeardownActivities
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from localcluster.binaries import binary
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.processes import free_port
from localcluster.shipped import MANAGER_CHART, RELEASE, Shipped, helm
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE
from models.provision import ChartInput
from operand.rendering import ChartRenderer
from tests.acting import provision, removed
from tests.cluster import connected
from tests.conftest import OPERAND_CHART, Eventually

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("bare")]

NAMESPACE = f"/api/v1/namespaces/{KYMA_NAMESPACE}"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{KYMA_NAMESPACE}/deployments"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def template(*values: str, release: str = RELEASE, api: str = "v1") -> list[dict[str, Any]]:
    """What the chart renders with these values, for a cluster that has also that API."""
    flags = ["--api-versions", api, *(part for value in values for part in ("--set-json", value))]
    command = [str(binary("helm")), "template", release, str(MANAGER_CHART), "--namespace", KYMA_NAMESPACE, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ValueError(done.stderr)
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def only(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture
def restricted(control_plane: ControlPlane) -> Iterator[None]:
    """The namespace admits only pods of the Pod Security Standard `restricted`."""

    def label(values: dict[str, str | None]) -> None:
        control_plane.request("PATCH", NAMESPACE, {"metadata": {"labels": values}}, "application/merge-patch+json")

    label({**RESTRICTED})
    yield
    label(dict.fromkeys(RESTRICTED))


async def test_it_is_installed_upgraded_and_uninstalled(
    control_plane: ControlPlane, person: Person, restricted: None, eventually: Eventually
) -> None:
    def available(process: str) -> int:
        status = (person.get(f"{DEPLOYMENTS}/{RELEASE}-{process}") or {}).get("status") or {}
        return int(status.get("availableReplicas") or 0)

    async def all_available() -> bool:
        return (available("worker"), available("trigger")) == (2, 2)

    notes = helm(control_plane, "install", RELEASE, MANAGER_CHART)
    assert "2 workers and 2 triggers" in notes and "delete every BtpOperator" in notes
    assert "WARNING: Temporal is reached without TLS" in notes and "no ValidatingAdmissionPolicies" not in notes
    try:
        await eventually(all_available)
        # Nothing that belongs to the manager is taken for the operand's.
        assert person.managed_objects() == []
        before = person.get(f"{DEPLOYMENTS}/{RELEASE}-worker") or {}
        helm(
            control_plane,
            "upgrade",
            RELEASE,
            MANAGER_CHART,
            "--set",
            "worker.replicas=3,settings.BTP_RESYNC_INTERVAL=5m",
        )
        after = person.get(f"{DEPLOYMENTS}/{RELEASE}-worker") or {}
        assert after["spec"]["replicas"] == 3 and after["metadata"]["uid"] == before["metadata"]["uid"]
        assert {"name": "BTP_RESYNC_INTERVAL", "value": "5m"} in environment_of(after)
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait")
    assert person.get(f"{DEPLOYMENTS}/{RELEASE}-worker") is None
    assert person.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/btpoperators.operator.kyma-project.io")


async def test_a_removed_operand_leaves_the_manager_where_it_is(
    control_plane: ControlPlane,
    release: Shipped,
    kube: Kube,
    person: Person,
    mandate: Mandate,
    credentials: dict[str, str],
) -> None:
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=1,trigger.replicas=1")
    try:
        worker = await connected(release.kubeconfig("worker"))
        renderer = ChartRenderer(OPERAND_CHART, rbac=False)
        await provision(ChartActivities(worker, renderer).apply_chart, ChartInput(mandate=mandate))
        await kube.delete(BTP_OPERATORS, mandate.ref.name, mandate.ref.namespace)
        await removed(TeardownActivities(worker), mandate)
        await worker.close()
        assert person.managed_objects() == []
        left = json.loads(helm(control_plane, "status", RELEASE, "-o", "json"))
        assert left["info"]["status"] == "deployed"
        for path in (f"{DEPLOYMENTS}/{RELEASE}-worker", f"{NAMESPACE}/serviceaccounts/{RELEASE}-worker"):
            assert person.get(path)
        # Neither a removal of the operand nor one of the manager takes its rights away, and Helm takes them over again.
        kept = f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{RELEASE}-operand"
        before = person.get(kept)
        helm(control_plane, "uninstall", RELEASE, "--wait")
        helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=0,trigger.replicas=0")
        assert before and (person.get(kept) or {})["metadata"]["uid"] == before["metadata"]["uid"]
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait")


async def test_teams_see_and_edit_their_service_objects_and_make_no_btpoperator(
    control_plane: ControlPlane, person: Person, eventually: Eventually
) -> None:
    services, operators = "services.cloud.sap.com", "operator.kyma-project.io"

    def may(user: str, verb: str, group: str, resource: str, namespace: str = "team-a") -> bool:
        resource, _, subresource = resource.partition("/")
        attributes = {"group": group, "resource": resource, "subresource": subresource, "verb": verb}
        review = {"spec": {"user": user, "resourceAttributes": {**attributes, "namespace": namespace}}}
        answer = control_plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    person.ensure_namespace("team-a")
    bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/rolebindings"
    for role in ("view", "edit", "admin"):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role}
        body = {"metadata": {"name": role}, "roleRef": reference, "subjects": [subject]}
        control_plane.request("POST", bindings, body)
    assert not may("edit", "create", services, "serviceinstances")
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=0,trigger.replicas=0")
    try:
        for resource in ("serviceinstances", "servicebindings"):

            async def granted(resource: str = resource) -> bool:  # roles are aggregated by a controller
                return may("admin", "create", services, resource) and may("view", "list", services, resource)

            await eventually(granted)
            assert all(may("edit", verb, services, resource) for verb in ("get", "watch", "create", "update", "delete"))
            assert not may("view", "create", services, resource)
            assert not may("edit", "list", services, resource, "team-b")
            assert not may("admin", "update", services, f"{resource}/status")
        for user in ("view", "edit", "admin"):
            assert may(user, "get", operators, "btpoperators")
            assert not [
                verb for verb in ("create", "update", "patch", "delete") if may(user, verb, operators, "btpoperators")
            ]
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait")
        for role in ("view", "edit", "admin"):
            person.delete(f"{bindings}/{role}")


async def test_btpoperators_are_made_only_where_the_administrator_says(
    control_plane: ControlPlane, person: Person, eventually: Eventually
) -> None:
    def refused(namespace: str) -> bool:
        body = {"apiVersion": "operator.kyma-project.io/v1alpha1", "kind": "BtpOperator", "metadata": {"name": "any"}}
        path = f"/apis/operator.kyma-project.io/v1alpha1/namespaces/{namespace}/btpoperators?dryRun=All"
        try:
            control_plane.request("POST", path, body)
        except HTTPError as error:
            assert error.code == 403
            return True
        return False

    person.ensure_namespace("team-a")
    none = ("worker.replicas=0", "trigger.replicas=0", f"admissionPolicy.operatorNamespaces={{{KYMA_NAMESPACE}}}")
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", ",".join(none))
    try:
        await eventually(lambda: asyncio.to_thread(refused, "team-a"))
        assert not refused(KYMA_NAMESPACE)
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait")
    await eventually(lambda: asyncio.to_thread(lambda: not refused("team-a")))


def environment_of(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    variables: list[dict[str, Any]] = container["env"]
    return variables


async def test_the_operands_rights_are_those_that_its_own_chart_asks_for() -> None:
    values: dict[str, Any] = {"cluster": {"id": "c"}, "manager": {"secret": {"data": {}}, "webhook": {"caBundle": ""}}}
    theirs, ours = await ChartRenderer(OPERAND_CHART).render(values), template()
    for kind, name, their_name in (
        ("ClusterRole", f"{RELEASE}-operand", "sap-btp-operator-manager-role"),
        ("Role", f"{RELEASE}-operand-leader-election", "sap-btp-operator-leader-election-role"),
    ):
        role, their_role = only(ours, kind, name), only(theirs, kind, their_name)
        assert role["rules"] == their_role["rules"]
        binding = only(ours, f"{kind}Binding", name)
        their_binding = only(theirs, f"{kind}Binding", f"{their_name}binding".replace("-role-", "-role"))
        assert binding["subjects"] == their_binding["subjects"]
        assert (binding["roleRef"]["name"], their_binding["roleRef"]["name"]) == (name, their_name)
        # An operand that runs keeps its rights when this chart goes.
        assert {obj["metadata"]["annotations"]["helm.sh/resource-policy"] for obj in (role, binding)} == {"keep"}
    without = await ChartRenderer(OPERAND_CHART, rbac=False).render(values)
    assert {obj["kind"] for obj in theirs} - {obj["kind"] for obj in without} == {
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
    }


def test_temporal_is_reached_with_mutual_tls_and_an_api_key_from_secrets() -> None:
    objects = template(
        'temporal={"address":"eu.tmprl.example:7233","namespace":"n","apiKeySecret":"key",'
        '"tls":{"enabled":true,"secret":"tls","serverCa":true}}'
    )
    for process in ("worker", "trigger"):
        deployment = only(objects, "Deployment", f"{RELEASE}-{process}")
        variables = {each["name"]: each for each in environment_of(deployment)}
        assert variables["BTP_TEMPORAL_API_KEY_FILE"]["value"] == "/etc/temporal-api-key/api-key"
        assert variables["TEMPORAL_TLS_CLIENT_KEY_PATH"]["value"] == "/etc/temporal-tls/tls.key"
        assert variables["TEMPORAL_TLS_SERVER_CA_CERT_PATH"]["value"] == "/etc/temporal-tls/ca.crt"
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        assert {"tls", "key"} <= {volume.get("secret", {}).get("secretName") for volume in volumes}
        assert "TEMPORAL_API_KEY" not in variables  # a variable is read once, a file when it changes


def test_prometheus_finds_the_pods_and_the_rules_and_a_person_the_page() -> None:
    runbooks = "https://docs.example/alerts.md"
    objects = template(
        f'monitoring={{"enabled":true,"labels":{{"release":"p"}},"interval":"30s","runbooks":"{runbooks}"}}'
    )
    rules = only(objects, "PrometheusRule", RELEASE)
    assert rules["metadata"]["labels"]["release"] == "p"
    (group,) = rules["spec"]["groups"]
    assert len(group["rules"]) > 10
    for rule in group["rules"]:
        assert rule["annotations"].pop("runbook_url") == f"{runbooks}#{rule['alert'].lower()}"
    assert [group] == yaml.safe_load(Path(MANAGER_CHART, "files", "alerts.yaml").read_text())["groups"]
    for process in ("worker", "trigger"):
        monitor = only(objects, "PodMonitor", f"{RELEASE}-{process}")
        assert monitor["metadata"]["labels"]["release"] == "p"
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        # The rules are written for these labels.
        assert endpoint["honorLabels"] and endpoint["interval"] == "30s"
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "btp-manager"}]


@pytest.mark.parametrize(
    "wrong",
    [
        'temporal={"address":"no-port","namespace":"n"}',
        "worker.replicas=-1",
        'image.digest="latest"',
        'settings={"PATH":"x"}',
        'settings={"BTP_HARD_DELETE_TIMOUT":"1h"}',
        'settings={"BTP_READY_TIMEOUT":"soon"}',
        'settings={"BTP_OPERAND_TEARDOWN":"never"}',
        'settings={"BTP_TASK_QUEUE":"another"}',
        'settings={"BTP_PAYLOAD_KEY":"in the clear"}',
        'networkPolicy.temporal.ports=["http"]',
        'credentialsNamespaces=["Not A Name"]',
        "unknown=1",
    ],
)
def test_values_that_cannot_work_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="values don't meet the specifications of the schema"):
        template(wrong)


def test_names_follow_the_release_unless_they_are_given() -> None:
    def names(release: str, *values: str) -> set[str]:
        return {obj["metadata"]["name"] for obj in template(*values, release=release) if obj["kind"] == "Deployment"}

    assert names(RELEASE) == {"btp-manager-worker", "btp-manager-trigger"}
    assert names("x") == {"x-btp-manager-worker", "x-btp-manager-trigger"}
    assert names("x", 'nameOverride="m"') == {"x-m-worker", "x-m-trigger"}
    assert names("x", 'fullnameOverride="whole"') == {"whole-worker", "whole-trigger"}
    longest = template(release="r" * 53)
    assert max(len(obj["metadata"]["name"]) for obj in longest) <= 63


def test_every_pod_has_what_is_added_to_them() -> None:
    objects = template(
        'extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy"}]',
        'extraVolumes=[{"name":"ca","configMap":{"name":"ca"}}]',
        'extraVolumeMounts=[{"name":"ca","mountPath":"/ca"}]',
        'affinity={"nodeAffinity":{}}',
        'topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule"}]',
        'commonLabels={"cost":"1"}',
        'serviceAccount.annotations={"role":"r"}',
    )
    assert all(obj["metadata"]["labels"]["cost"] == "1" for obj in objects if obj["kind"] != "Pod")
    for process in ("worker", "trigger"):
        assert only(objects, "ServiceAccount", f"{RELEASE}-{process}")["metadata"]["annotations"] == {"role": "r"}
        spread = pod_spec(only(objects, "Deployment", f"{RELEASE}-{process}"))["topologySpreadConstraints"]
        labels = spread[0]["labelSelector"]["matchLabels"]
        assert spread[0]["topologyKey"] == "zone" and labels["app.kubernetes.io/component"] == process
        budget = only(objects, "PodDisruptionBudget", f"{RELEASE}-{process}")
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    pods = [pod_spec(obj) for obj in objects if obj["kind"] in ("Deployment", "Pod", "Job")]
    assert len(pods) == 4
    for pod in pods:
        (container,) = pod["containers"]
        assert {"name": "HTTPS_PROXY", "value": "http://proxy"} in container["env"]
        assert {"name": "ca", "mountPath": "/ca"} in container["volumeMounts"]
        assert {"name": "ca", "configMap": {"name": "ca"}} in pod["volumes"] and pod["affinity"] == {"nodeAffinity": {}}
        assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]


def test_the_metrics_service_has_the_annotations_by_which_others_find_it() -> None:
    def annotations(*values: str) -> Any:
        return only(template(*values), "Service", f"{RELEASE}-metrics")["metadata"].get("annotations")

    assert annotations() is None
    found = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    assert annotations(f"monitoring.serviceAnnotations={json.dumps(found)}") == found


def test_network_policies_follow_the_address_and_name_the_peers_that_are_given() -> None:
    def egress(*values: str) -> dict[int, Any]:
        policy = only(template(*values), "NetworkPolicy", f"{RELEASE}-worker")["spec"]
        return {each["port"]: rule.get("to") for rule in policy["egress"] for each in rule["ports"]}

    cloud = 'temporal={"address":"ns.tmprl.cloud:17233","namespace":"n"}'
    assert set(egress(cloud)) == {53, 8053, 443, 6443, 17233} and set(egress(cloud).values()) == {None}
    api = [{"ipBlock": {"cidr": "10.0.0.1/32"}}]
    pods: list[dict[str, Any]] = [{"podSelector": {}}]
    given = egress(
        cloud,
        f'networkPolicy.apiServer={{"ports":[8443],"to":{json.dumps(api)}}}',
        f'networkPolicy.temporal={{"ports":[7233],"to":{json.dumps(pods)}}}',
        f"networkPolicy.dns.to={json.dumps(pods)}",
    )
    assert given == {53: pods, 8053: pods, 8443: api, 7233: pods}
    policy = only(template(f"networkPolicy.metricsFrom={json.dumps(pods)}"), "NetworkPolicy", f"{RELEASE}-trigger")
    assert {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]} == {
        "health": None,
        "metrics": pods,
    }
    assert not [obj for obj in template("networkPolicy.enabled=false") if obj["kind"] == "NetworkPolicy"]


async def test_it_brings_what_kyma_brings_where_it_is_asked_to(control_plane: ControlPlane, person: Person) -> None:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses/kyma-system"
    person.delete(path)
    none = "worker.replicas=0,trigger.replicas=0"
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", f"{none},prerequisites.priorityClass=true")
    assert person.get(path)
    helm(control_plane, "uninstall", RELEASE, "--wait")
    assert person.get(path)
    assert only(template("prerequisites.namespace=true"), "Namespace", KYMA_NAMESPACE)["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }


async def test_helm_runs_the_doctor_as_a_test_and_asks_before_it_uninstalls(
    control_plane: ControlPlane, person: Person
) -> None:
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=0,trigger.replicas=0")
    assert "Succeeded" in helm(control_plane, "test", RELEASE)
    helm(control_plane, "uninstall", RELEASE, "--wait")  # its Job runs, and ends well here
    objects = template()
    doctor = only(objects, "Pod", f"{RELEASE}-doctor")
    guard = only(objects, "Job", f"{RELEASE}-in-use")
    assert guard["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete" and guard["spec"]["backoffLimit"] == 0
    assert pod_spec(doctor)["containers"][0]["command"] == ["python", "-m", "btpctl", "doctor"]
    assert pod_spec(guard)["containers"][0]["command"] == ["python", "-m", "btpctl", "in-use", "--end-resync"]
    assert not [obj for obj in template("uninstallGuard=false") if obj["kind"] == "Job"]


async def test_the_guard_ends_with_an_error_that_names_each_btpoperator_with_the_rights_of_the_worker(
    control_plane: ControlPlane, person: Person
) -> None:
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=0,trigger.replicas=0")
    try:
        account = control_plane.service_account(KYMA_NAMESPACE, f"{RELEASE}-worker")
        nowhere = f"127.0.0.1:{free_port()}"

        def guard() -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "btpctl", "in-use", "--end-resync", "--temporal-address", nowhere]
            environment = {**os.environ, "KUBECONFIG": str(account), "PYTHONPATH": str(CHECKOUT)}
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

        done = await asyncio.to_thread(guard)
        nothing, resync = done.stdout.splitlines()
        assert (done.returncode, nothing) == (0, "no BtpOperator exists, and no reclaim is open")
        assert (
            "the resync stays in Temporal" in resync and f"{nowhere} (--temporal-address) cannot be reached" in resync
        )
        person.create_operator("still-there")
        done = await asyncio.to_thread(guard)
        assert done.returncode == 1 and f"BtpOperator {KYMA_NAMESPACE}/still-there exists" in done.stdout
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait")


def pod_spec(obj: dict[str, Any]) -> dict[str, Any]:
    """The specification of the pods that an object makes, or of itself."""
    spec: dict[str, Any] = obj["spec"]["template"]["spec"] if "template" in obj["spec"] else obj["spec"]
    return spec


def test_helm_lint_finds_nothing_to_complain_about() -> None:
    done = subprocess.run(
        [str(binary("helm")), "lint", "--strict", str(MANAGER_CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_crd_is_a_file_that_kubectl_can_apply() -> None:
    (crd,) = [yaml.safe_load(path.read_text()) for path in Path(MANAGER_CHART, "crds").iterdir()]
    assert crd["metadata"]["name"] == "btpoperators.operator.kyma-project.io"
