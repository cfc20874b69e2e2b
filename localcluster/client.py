"""A person at the cluster: what one would do with kubectl. For the demo, tests and benchmarks."""

import base64
import contextlib
import time
import urllib.error
from dataclasses import dataclass
from typing import Any, Final

from kube.resources import CHART_KINDS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.controlplane import ControlPlane
from models.names import API_GROUP, API_VERSION, CREDENTIALS_SECRET, KIND, KYMA_NAMESPACE, MANAGED_SELECTOR

OPERATORS: Final = f"/apis/{API_GROUP}/{API_VERSION}"
CREDENTIALS: Final = {
    "clientid": "demo-client-id",
    "clientsecret": "demo-client-secret",
    "sm_url": "https://service-manager.example",
    "tokenurl": "https://token.example",
    "cluster_id": "demo-cluster",
}


@dataclass(frozen=True)
class Status:
    """What `kubectl get btpoperators` shows."""

    state: str
    reason: str
    message: str


class Person:
    """Synchronous and blunt, as a person is."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster

    def create_operator(self, name: str, namespace: str = KYMA_NAMESPACE) -> dict[str, Any]:
        body = {"apiVersion": f"{API_GROUP}/{API_VERSION}", "kind": KIND, "metadata": {"name": name}}
        created: dict[str, Any] = self._cluster.request(
            "POST", f"{OPERATORS}/namespaces/{namespace}/btpoperators", body
        )
        return created

    def delete_operator(self, name: str, namespace: str = KYMA_NAMESPACE) -> None:
        self.delete(f"{OPERATORS}/namespaces/{namespace}/btpoperators/{name}")

    def status(self, name: str, namespace: str = KYMA_NAMESPACE) -> Status | None:
        """The CR's status; None if the CR is gone, or nobody has looked at it yet."""
        obj = self.get(f"{OPERATORS}/namespaces/{namespace}/btpoperators/{name}")
        if not obj or not obj.get("status"):
            return None
        condition = (obj["status"].get("conditions") or [{}])[0]
        return Status(obj["status"]["state"], condition.get("reason", ""), condition.get("message", ""))

    def put_secret(
        self, values: dict[str, str], name: str = CREDENTIALS_SECRET, namespace: str = KYMA_NAMESPACE
    ) -> None:
        """Make the Secret, or replace its data."""
        collection = f"/api/v1/namespaces/{namespace}/secrets"
        body = {
            "metadata": {"name": name},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
        with contextlib.suppress(urllib.error.HTTPError):
            self._cluster.request("POST", collection, body)
            return
        self._cluster.request("PUT", f"{collection}/{name}", body)

    def ensure_namespace(self, name: str) -> str:
        with contextlib.suppress(urllib.error.HTTPError):
            self._cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def create_instance(
        self, namespace: str, name: str, annotations: dict[str, str] | None = None, **spec: Any
    ) -> None:
        """A ServiceInstance of some offering."""
        self._create_service(
            SERVICE_INSTANCES,
            namespace,
            {"name": name, "annotations": annotations or {}},
            {"serviceOfferingName": "offering", "servicePlanName": "plan", **spec},
        )

    def create_binding(self, namespace: str, name: str, instance: str, **spec: Any) -> None:
        """A ServiceBinding of an instance in the same namespace."""
        spec = {"serviceInstanceName": instance, **spec}
        self._create_service(SERVICE_BINDINGS, namespace, {"name": name}, spec)

    def service_objects(self) -> list[dict[str, Any]]:
        """Every ServiceBinding and ServiceInstance; none if the operand is not installed."""
        found: list[dict[str, Any]] = []
        for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
            listing = self.get(resource.path()) or {}
            found += listing.get("items") or []
        return found

    def _create_service(self, resource: Resource, namespace: str, meta: dict[str, Any], spec: dict[str, Any]) -> None:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}
        self._cluster.request("POST", resource.path(namespace), body)

    def get(self, path: str) -> dict[str, Any] | None:
        """An object or a list; None if it is not there."""
        while True:
            try:
                found: dict[str, Any] = self._cluster.request("GET", path)
                return found
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return None
                if error.code != 429:  # the API server is still setting up storage for a new kind
                    raise
            time.sleep(0.1)

    def delete(self, path: str) -> None:
        """Ask for a deletion; what is not there is fine."""
        with contextlib.suppress(urllib.error.HTTPError):
            self._cluster.request("DELETE", path)

    def managed_paths(self) -> list[str]:
        """Where each object that carries the manager's label is."""
        found = []
        for kind in CHART_KINDS:
            listing = self._cluster.request("GET", f"{kind.path()}?labelSelector={MANAGED_SELECTOR}")
            metas = [item["metadata"] for item in listing["items"]]
            found += [kind.path(meta.get("namespace"), meta["name"]) for meta in metas]
        return found

    def managed_objects(self) -> list[str]:
        """Everything in the cluster that carries the manager's label."""
        found = []
        for kind in CHART_KINDS:
            listing = self._cluster.request("GET", f"{kind.path()}?labelSelector={MANAGED_SELECTOR}")
            found += [f"{kind.kind} {item['metadata']['name']}" for item in listing["items"]]
        return found
