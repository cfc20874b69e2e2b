"""Worker and trigger with exactly the rights that chart/btp-manager gives them: enough, and none too many.

The API server's own audit log says what was asked for; the installed roles say what was allowed.
"""

import base64
import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from localcluster.shipped import RELEASE
from models.names import KYMA_NAMESPACE, OPERAND_FINALIZER, PREVENT_DELETION_ANNOTATION
from operand.pki import new_serving
from tests.e2e.deletion import Scene
from tests.unit.test_monitoring import ALERT_EXPRESSIONS, EXPRESSIONS, metrics

RBAC = "/apis/rbac.authorization.k8s.io/v1"
POLICY = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
SPARE_PART = re.compile(r"sap-btp-abandoned-\d+")
"""Used only when more objects are abandoned than one ConfigMap holds."""
OF_A_DEAD_NODE = ("", "nodes", "get", "")
"""Used only when a pod of the operand does not end: whether its node is still there."""
OF_RECLAIM = ("", "configmaps", "delete", "sap-btp-abandoned")
"""Used only when SAP BTP has deleted all that was abandoned."""
Right = tuple[str, str, str, str]
"""API group, resource with its subresource, verb, name (empty for all)."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    values = tmp_path_factory.mktemp("operand") / "values.yaml"
    certificate = new_serving(["example.com"], datetime.now(UTC))[1].decode()
    values.write_text(yaml.safe_dump({"manager": {"customCACerts": [certificate]}}))
    settings = {"BTP_HARD_DELETE_TIMEOUT": "8s", "BTP_READY_TIMEOUT": "60s", "BTP_OPERAND_VALUES": str(values)}
    with ServiceManager() as sap, Environment(settings, audit=True) as environment:
        scene = Scene(environment, sap)
        tell(scene)
        yield scene


def tell(scene: Scene) -> None:
    """The whole story: nothing there, then installed, in use, hard delete, installed again, soft delete."""
    person, cluster = scene.person, scene.environment.cluster
    person.create_operator("btpoperator")
    scene.until(lambda: scene.reason() == "MissingSecret", "a Secret to be missed")
    left_by_another_installation(scene)
    person.put_secret(scene.sap.credentials())
    scene.until(lambda: scene.state() == "Ready", "the CR to be Ready")
    scene.operand = scene.environment.start_operand()
    scene.make({"team-a": 2})
    keep_a_binding(scene)
    person.delete_operator("btpoperator")
    scene.until(lambda: asked_one_by_one(scene, "servicebindings"), "bindings to be asked one by one")
    person.delete(f"{POLICY}/keep")
    scene.gone()

    scene.ready()
    scene.make({"team-a": 2})
    scene.sap.refused.add("binding-1")  # so that a binding is let go, too
    parameters = "/api/v1/namespaces/team-a/secrets/parameters"
    person.put_secret({"size": "large"}, "parameters", "team-a")
    cluster.request("PATCH", parameters, {"metadata": {"finalizers": [OPERAND_FINALIZER]}}, MERGE)
    watched = {"parametersFrom": [{"secretKeyRef": {"name": "parameters", "key": "size"}}]}
    change = {
        "metadata": {"annotations": {PREVENT_DELETION_ANNOTATION: "true"}},
        "spec": {**watched, "watchParametersFromChanges": True},
    }
    instance = "/apis/services.cloud.sap.com/v1/namespaces/team-a/serviceinstances/instance-0"
    scene.patiently(lambda: cluster.request("PATCH", instance, change, MERGE))
    scene.delete()
    assert asked_one_by_one(scene, "serviceinstances")
    assert (person.get(parameters) or {})["metadata"].get("finalizers") is None
    assert scene.reported() and not person.managed_objects()


def asked_one_by_one(scene: Scene, resource: str) -> bool:
    """Whether the worker asked for a deletion by name, as it does where a collection is refused."""
    return any(r["verb"] == "delete" and r["objectRef"]["resource"] == resource for r in asked(scene, "worker"))


def left_by_another_installation(scene: Scene) -> None:
    """What a manager with all rights, or an early release of the Go manager, made for the operand."""
    rbac = "rbac.authorization.k8s.io/v1"
    role = {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}}
    for path, kind, names, fields in (
        (
            f"{RBAC}/clusterroles",
            "ClusterRole",
            ("sap-btp-operator-manager-role", "sap-btp-operator-proxy-role", "sap-btp-operator-metrics-reader"),
            {"rules": []},
        ),
        (
            f"{RBAC}/clusterrolebindings",
            "ClusterRoleBinding",
            ("sap-btp-operator-manager-rolebinding", "sap-btp-operator-proxy-rolebinding"),
            role,
        ),
        (
            f"{RBAC}/namespaces/{KYMA_NAMESPACE}/roles",
            "Role",
            ("sap-btp-operator-leader-election-role",),
            {"rules": []},
        ),
        (
            f"{RBAC}/namespaces/{KYMA_NAMESPACE}/rolebindings",
            "RoleBinding",
            ("sap-btp-operator-leader-election-rolebinding",),
            role,
        ),
        (
            f"/apis/networking.k8s.io/v1/namespaces/{KYMA_NAMESPACE}/networkpolicies",
            "NetworkPolicy",
            ("kyma-project.io--btp-operator-allow-to-webhook",),
            {"spec": {"podSelector": {}}},
        ),
    ):
        for name in names:
            obj = {
                "apiVersion": "networking.k8s.io/v1" if kind == "NetworkPolicy" else rbac,
                "kind": kind,
                "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "btp-manager"}},
                **fields,
            }
            scene.environment.cluster.request("PATCH", f"{path}/{name}?fieldManager=btp-manager", obj, APPLY)


def keep_a_binding(scene: Scene) -> None:
    """Somebody's admission policy (KEP-3488) that refuses the deletion of one binding."""
    match = {
        "resourceRules": [
            {
                "apiGroups": ["services.cloud.sap.com"],
                "apiVersions": ["v1"],
                "operations": ["DELETE"],
                "resources": ["servicebindings"],
            }
        ]
    }
    policy = {
        "metadata": {"name": "keep"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": match,
            "validations": [{"expression": "!oldObject.metadata.name.endsWith('-1')", "message": "kept for a while"}],
        },
    }
    binding = {"metadata": {"name": "keep"}, "spec": {"policyName": "keep", "validationActions": ["Deny"]}}
    scene.environment.cluster.request("POST", POLICY, policy)
    scene.environment.cluster.request("POST", POLICY.replace("policies", "policybindings"), binding)

    def enforced() -> bool:
        path = "/apis/services.cloud.sap.com/v1/namespaces/team-a/servicebindings/binding-1?dryRun=All"
        try:
            scene.environment.cluster.request("DELETE", path)
        except urllib.error.HTTPError:
            return True
        return False

    scene.until(enforced, "the policy to be enforced")


def asked(scene: Scene, process: str) -> list[dict[str, Any]]:
    """Every finished request of a process."""
    user = f"system:serviceaccount:{KYMA_NAMESPACE}:{RELEASE}-{process}"
    lines = scene.environment.cluster.audit_log.read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [e for e in entries if e["user"]["username"] == user and "responseStatus" in e and "objectRef" in e]


def granted(scene: Scene, process: str) -> set[Right]:
    """Every right that the roles of a process give, one by one."""
    rights = set()
    for path in (f"{RBAC}/clusterroles", f"{RBAC}/namespaces/{KYMA_NAMESPACE}/roles"):
        role = scene.person.get(f"{path}/{RELEASE}-{process}")
        assert role is not None
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    names = rule.get("resourceNames") or [""]
                    rights |= {(group, resource, verb, name) for verb in rule["verbs"] for name in names}
    return rights


def used(requests: list[dict[str, Any]]) -> set[Right]:
    """The rights that these requests needed, each with and without the object's name."""
    rights = set()
    for request in requests:
        ref, code = request["objectRef"], request["responseStatus"].get("code")
        resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
        # Server-side apply of an object that is not there asks for `create` too.
        verbs = {request["verb"], *(["create"] if code == 201 else [])}
        for verb in verbs:
            rights |= {(ref.get("apiGroup", ""), resource, verb, name) for name in ("", ref.get("name", ""))}
    return rights


@pytest.mark.parametrize("process", ["worker", "trigger"])
def test_no_request_is_forbidden(scene: Scene, process: str) -> None:
    requests = asked(scene, process)
    assert len(requests) > 20
    assert [r["requestURI"] for r in requests if r["responseStatus"].get("code") in (401, 403) and not refused(r)] == []


def refused(request: dict[str, Any]) -> bool:
    """Whether the policy of this test said no, not RBAC."""
    return bool(request["annotations"].get("authorization.k8s.io/decision") == "allow")


@pytest.mark.parametrize("process", ["worker", "trigger"])
def test_no_right_is_granted_that_is_never_used(scene: Scene, process: str) -> None:
    unused = granted(scene, process) - used(asked(scene, process))
    assert sorted(right for right in unused - {OF_A_DEAD_NODE, OF_RECLAIM} if not SPARE_PART.fullmatch(right[3])) == []


@pytest.mark.parametrize("process", ["worker", "trigger"])
def test_no_right_is_a_wildcard_or_lets_rights_grow(scene: Scene, process: str) -> None:
    rights = granted(scene, process)
    assert not [right for right in rights if "*" in "".join(right)]
    assert not [right for right in rights if right[2] in ("escalate", "impersonate", "bind")]
    assert {right[2] for right in rights if right[0] == "rbac.authorization.k8s.io"} <= {"list", "watch", "delete"}


def test_no_process_may_list_or_watch_secrets_whose_names_it_does_not_know(scene: Scene) -> None:
    for process in ("worker", "trigger"):
        secrets = [right for right in granted(scene, process) if right[1] == "secrets"]
        assert secrets
        assert not [right for right in secrets if right[2] in ("list", "watch", "deletecollection") and not right[3]]


def test_the_trigger_may_read_no_private_key(scene: Scene) -> None:
    scene.person.create_operator("watched")
    scene.until(lambda: scene.state("watched") == "Ready", "the CR to be Ready")
    names = {right[3] for right in granted(scene, "trigger") if right[1] == "secrets"}
    found = {name: scene.secret(KYMA_NAMESPACE, name) for name in names}
    assert set(found) == {"sap-btp-manager", "sap-btp-service-operator", "ca-server-cert"} and all(found.values())
    values = [value for secret in found.values() if secret for value in secret["data"].values()]
    assert not [value for value in values if b"PRIVATE KEY" in base64.b64decode(value)]


RESYNC = "btp_resync_last_success_timestamp_seconds"
TASKS = "temporal_workflow_task_execution_failed"
"""Exported once a workflow task has failed, which none of ours is made to do here: tests/runtime/test_telemetry.py."""
VALUES = {
    # What each metric of an alert shows in this story: one CR is Ready, one spare, a soft delete left a report, an
    # object was looked for that is not there, and Temporal was away for a while.
    "btp_operator_state": r'{name="watched",namespace="kyma-system",reason="ReconcileSucceeded",state="Ready"} 1.0',
    "btp_abandoned_objects": r" [1-9]",
    "btp_reclaim_pending_objects": " 0.0",  # no Secret sap-btp-reclaim: tests/trigger/test_watcher.py has another value
    "btp_watch_last_event_age_seconds": r'{kind="Secret"} \d',
    "btp_trigger_nudges_total": r'{result="failed"} 0.0',
    "btp_kube_requests_total": r'{code="404",kind="\w+",verb="get"} [1-9]',
    "temporal_num_pollers": r'{[^}]*poller_type="workflow_task"[^}]*} [1-9]',
    "btp_token_url_trusted": " NaN",  # nobody was asked: the stand-in for SAP BTP speaks http
    "temporal_long_request_latency_count": r'{[^}]*operation="PollWorkflowTaskQueue"[^}]*} [1-9]',
    "btp_task_queue_pollers": " [1-9]",
    "temporal_long_request_failure": r'{[^}]*operation="PollWorkflowTaskQueue",[^}]*} [1-9]',
}


def exported(scene: Scene) -> str:
    """All that Prometheus reads of worker and trigger."""
    pages = []
    for manager in scene.environment.workers + scene.environment.triggers:
        with urllib.request.urlopen(f"http://127.0.0.1:{manager.metrics}/metrics", timeout=10) as answer:
            pages.append(answer.read().decode())
    return "".join(pages)


def test_every_metric_of_an_alert_has_the_value_that_the_alert_is_about(scene: Scene) -> None:
    scene.until(lambda: scene.state("watched") == "Ready", "the CR to be Ready")
    scene.person.create_operator("spare")
    scene.until(lambda: scene.state("spare") == "Error", "the second CR to be spare")
    in_alerts = {name for expression in ALERT_EXPRESSIONS for name in metrics(expression)}
    assert set(VALUES) | {RESYNC, TASKS} == in_alerts

    def missing(names: Iterable[str]) -> list[str]:
        page = exported(scene)
        return [name for name in names if not re.search(rf"^{name}{VALUES[name]}", page, re.MULTILINE)]

    while_away = "temporal_long_request_failure"
    with contextlib.suppress(RuntimeError):  # what is missing is said below
        scene.until(lambda: not missing(set(VALUES) - {while_away}), "every metric", 90)
    assert missing(set(VALUES) - {while_away}) == []
    assert 'reason="OlderCRExists",state="Error"} 1.0' in exported(scene)
    scene.environment.temporal.stop()
    try:
        scene.until(lambda: not missing([while_away]), "polls to fail")
    finally:
        scene.environment.temporal.start()


def test_every_metric_of_the_dashboard_is_exported(scene: Scene) -> None:
    page = exported(scene)
    wanted = {name for expression in EXPRESSIONS for name in metrics(expression)} - {RESYNC, TASKS}
    assert sorted(name for name in wanted if not re.search(rf"^{name}[ {{]", page, re.MULTILINE)) == []
    assert "btp_reconcile_total{" in page and 'outcome="deprovision_soft"' in page
    assert "temporal_workflow_completed" in page
