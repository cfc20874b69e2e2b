"""Writes objects as the Go manager writes them: whole, by POST and PUT under its field manager's name.

Its releases differ in how an object began: by server-side apply until early 2026, by POST since; all changes are PUTs.
Its releases up to 1.2.32 also put a proxy beside the operand, with rights of its own.
"""

import base64
import copy
import urllib.error
from collections.abc import Iterable
from enum import Enum
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    LEASES,
    SECRETS,
    chart_kind,
)
from localcluster.controlplane import ControlPlane
from models.names import (
    APPLIED_HASH_ANNOTATION,
    CA_SECRET,
    FINALIZER,
    GO_MANAGER_DEPLOYMENT,
    GO_MANAGER_LEASE,
    GO_MANAGER_SETTINGS,
    KYMA_NAMESPACE,
    WEBHOOK_CERT_SECRET,
)
from operand.certificates import DNS_NAMES
from operand.rendering import ChartRenderer
from tests.unit.test_pki import by_rsa

AS_THEIRS: Final = "fieldManager=btp-manager"
IMAGE: Final = (
    "europe-docker.pkg.dev/kyma-project/prod/external/ghcr.io/sap/sap-btp-service-operator/controller:v0.11.10"
)
LABELS: Final = {
    "app.kubernetes.io/managed-by": "btp-manager",
    "chart-version": "0.11.10",
    "kyma-project.io/module": "btp-operator",
}
OPERATOR: Final = f"/apis/operator.kyma-project.io/v1alpha1/namespaces/{KYMA_NAMESPACE}/btpoperators/btpoperator"


class Family(Enum):
    """Releases of the Go manager that leave objects in different ways."""

    APPLIED_THEN_PUT = "until early 2026: applied once, then PUT"
    POSTED_THEN_PUT = "since early 2026: POSTed once, then PUT"
    WITH_PROXY = "up to 1.2.32: with kube-rbac-proxy and its rights"


class GoManager:
    """What a cluster looks like in which it runs, and what it does there."""

    def __init__(self, cluster: ControlPlane, family: Family) -> None:
        self._cluster = cluster
        self._family = family
        self._objects: list[Object] = []

    async def install(self, renderer: ChartRenderer, credentials: dict[str, str]) -> None:
        """The operand, written once and changed once."""
        data = _encoded({key: text for key, text in credentials.items() if key != "cluster_id"})
        webhook = {"caBundle": base64.b64encode(b"as before").decode()}
        values = {
            "cluster": {"id": credentials["cluster_id"]},
            "manager": {
                "management_namespace": KYMA_NAMESPACE,
                "secret": {"data": data},
                "webhook": webhook,
                "image": {"reference": IMAGE},
                "priorityClassName": "btp-manager-kyma-priority",
            },
        }
        self._objects = [self._as_theirs(obj) for obj in await renderer.render(values)]
        if self._family is Family.WITH_PROXY:
            self._objects += _proxy_rights()
        self._certify()
        for obj in self._objects:
            self._begin(obj)
        self.reconcile()

    def reconcile(self) -> None:
        """Each object PUT, one after the other, as at every pass.

        Raises:
            HTTPError: the API server refused one; the rest is not written.
        """
        self._certify()
        for obj in self._objects:
            if self._live(obj) is None:
                self._begin(obj)
            else:
                self._put({**obj, "metadata": {**obj["metadata"], "annotations": {"pass": "another"}}})

    def rotate(self, credentials: dict[str, str]) -> None:
        """Other credentials, as it writes them to the operand: the whole Secret."""
        secret = next(obj for obj in self._objects if obj["kind"] == "Secret")
        secret["data"] = _encoded({key: text for key, text in credentials.items() if key != "cluster_id"})
        self._put(secret)

    def claim(self, state: str, reason: str, deleting: bool = False) -> None:
        """Its finalizer and status on kyma-system/btpoperator, written under its binary's name."""
        query = "?fieldManager=manager"
        body = self._cluster.request("GET", OPERATOR)
        body["metadata"]["finalizers"] = [FINALIZER]
        self._cluster.request("PUT", OPERATOR + query, body)
        if deleting:
            self._cluster.request("DELETE", OPERATOR)
        body = self._cluster.request("GET", OPERATOR)
        condition = {
            "type": "Ready",
            "status": "True" if state == "Ready" else "False",
            "reason": reason,
            "message": "as the Go manager says it",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        body["status"] = {"state": state, "conditions": [condition]}
        self._cluster.request("PUT", f"{OPERATOR}/status{query}", body)

    def _certify(self) -> None:
        """A CA and a certificate, where the CA's Secret lacks a key; its webhooks trust what is there."""
        secrets = {name: _secret(name) for name in (CA_SECRET, WEBHOOK_CERT_SECRET)}
        found = (self._live(secrets[CA_SECRET]) or {}).get("data") or {}
        ca = base64.b64decode(found.get("ca.crt", ""))
        if "ca.key" not in found:
            pair, ca = by_rsa(2048, DNS_NAMES)
            certificate, key = pair.certificate.decode(), pair.key.decode()
            secrets[CA_SECRET]["data"] = _encoded({"ca.crt": ca.decode(), "ca.key": key})
            secrets[WEBHOOK_CERT_SECRET]["data"] = _encoded({"tls.crt": certificate, "tls.key": key})
            for secret in secrets.values():
                self._begin(secret)
        for obj in self._objects:
            for hook in obj.get("webhooks") or []:
                hook["clientConfig"]["caBundle"] = base64.b64encode(ca).decode()

    def _begin(self, obj: Object) -> None:
        resource, meta = chart_kind(obj), obj["metadata"]
        if self._live(obj) is not None:
            self._put(obj)
        elif self._family is Family.POSTED_THEN_PUT:
            self._cluster.request("POST", f"{resource.path(meta.get('namespace'))}?{AS_THEIRS}", obj)
        else:
            path = resource.path(meta.get("namespace"), meta["name"])
            self._cluster.request("PATCH", f"{path}?{AS_THEIRS}&force=true", obj, "application/apply-patch+yaml")

    def _put(self, obj: Object) -> None:
        resource, meta = chart_kind(obj), obj["metadata"]
        path = resource.path(meta.get("namespace"), meta["name"])
        for left in reversed(range(5)):
            live = self._live(obj)
            assert live is not None
            body = {**obj, "metadata": {**meta, "resourceVersion": live["metadata"]["resourceVersion"]}}
            try:
                self._cluster.request("PUT", f"{path}?{AS_THEIRS}", body)
                return
            except urllib.error.HTTPError as error:
                # Controllers write too, to a new CustomResourceDefinition above all.
                if error.code != 409 or not left:
                    raise

    def _live(self, obj: Object) -> Object | None:
        resource, meta = chart_kind(obj), obj["metadata"]
        try:
            found: Object = self._cluster.request("GET", resource.path(meta.get("namespace"), meta["name"]))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None
        return found

    def _as_theirs(self, rendered: Object) -> Object:
        obj: Object = copy.deepcopy(rendered)
        meta = obj["metadata"]
        meta["annotations"].pop(APPLIED_HASH_ANNOTATION)
        meta["labels"] = {**LABELS, **meta["labels"]}
        if chart_kind(obj) is DEPLOYMENTS:
            pods = obj["spec"]["template"]
            pods["metadata"]["labels"]["kyma-project.io/module"] = "btp-operator"
            pods["spec"]["priorityClassName"] = "btp-manager-kyma-priority"
            pods["spec"]["containers"][0].setdefault("env", []).append({"name": "DROPPED_LATER", "value": "x"})
            if self._family is Family.WITH_PROXY:
                pods["spec"]["containers"].append(
                    {"name": "kube-rbac-proxy", "image": "quay.io/brancz/kube-rbac-proxy:1"}
                )
        if chart_kind(obj) is SECRETS:
            obj.setdefault("type", "Opaque")
        return obj


async def deploy(kube: Kube, replicas: int) -> None:
    """Its own Deployment."""
    pods = {
        "metadata": {"labels": {"app": "go"}},
        "spec": {"containers": [{"name": "manager", "image": "btp-manager:1.3.20"}]},
    }
    await kube.create(
        DEPLOYMENTS,
        {
            "metadata": {"name": GO_MANAGER_DEPLOYMENT, "namespace": KYMA_NAMESPACE},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "go"}}, "template": pods},
        },
    )


async def remove_traces(kube: Kube) -> None:
    """Its own objects, which nothing else takes away."""
    await kube.delete(DEPLOYMENTS, GO_MANAGER_DEPLOYMENT, KYMA_NAMESPACE)
    await kube.delete(LEASES, GO_MANAGER_LEASE, KYMA_NAMESPACE)
    await kube.delete(CONFIG_MAPS, GO_MANAGER_SETTINGS, KYMA_NAMESPACE)


def _secret(name: str) -> Object:
    labels = {"app.kubernetes.io/managed-by": "btp-manager"}
    meta = {"name": name, "namespace": KYMA_NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque"}


def _proxy_rights() -> Iterable[Object]:
    group = "rbac.authorization.k8s.io"
    for resource, name, fields in (
        (CLUSTER_ROLES, "sap-btp-operator-proxy-role", {"rules": []}),
        (CLUSTER_ROLES, "sap-btp-operator-metrics-reader", {"rules": []}),
        (
            CLUSTER_ROLE_BINDINGS,
            "sap-btp-operator-proxy-rolebinding",
            {"roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "sap-btp-operator-proxy-role"}},
        ),
    ):
        meta = {"name": name, "labels": LABELS}
        yield {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **fields}


def _encoded(values: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}
