"""The kinds this manager knows, with their addresses in the API.

A fixed table instead of discovery: discovery costs one request per API group and grows with the cluster's CRDs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from kube.errors import NotFound
from models.names import API_GROUP, API_VERSION, KIND
from models.text import plain

LONGEST_NAME: Final = 253
"""Characters of an object's name (RFC 1123 subdomain)."""


@dataclass(frozen=True)
class Resource:
    """A kind of object and where it lives."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, or of one object in it.

        Raises:
            NotFound: no object can have that name or be in that namespace.
        """
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", _segment(namespace)]
        parts += [self.plural, *(_segment(part) for part in (name, subresource) if part)]
        return "/".join(parts)

    def named(self, obj: Mapping[str, Any]) -> str:
        """`Kind namespace/name`, as messages name an object."""
        meta = obj.get("metadata") or {}
        where = f"{meta['namespace']}/" if self.namespaced and meta.get("namespace") else ""
        return f"{self.kind} {where}{meta.get('name')}"


def _segment(name: str) -> str:
    """A name as one segment of a path.

    Names come from objects that others write. The API server splits a path after decoding it, so what Kubernetes
    itself refuses as a segment (IsValidPathSegmentName in k8s.io/apimachinery) must never be sent.
    """
    if name in (".", "..") or "/" in name or "%" in name or len(name) > LONGEST_NAME:
        raise NotFound(f"no object can be named {plain(name, 60)!r}", status=404)
    return quote(name, safe=":")


BTP_OPERATORS: Final = Resource(API_GROUP, API_VERSION, KIND, "btpoperators")
SERVICE_INSTANCES: Final = Resource("services.cloud.sap.com", "v1", "ServiceInstance", "serviceinstances")
SERVICE_BINDINGS: Final = Resource("services.cloud.sap.com", "v1", "ServiceBinding", "servicebindings")

NAMESPACES: Final = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
NODES: Final = Resource("", "v1", "Node", "nodes", namespaced=False)
SECRETS: Final = Resource("", "v1", "Secret", "secrets")
CONFIG_MAPS: Final = Resource("", "v1", "ConfigMap", "configmaps")
SERVICES: Final = Resource("", "v1", "Service", "services")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "ServiceAccount", "serviceaccounts")
PODS: Final = Resource("", "v1", "Pod", "pods")
EVENTS: Final = Resource("", "v1", "Event", "events")
DEPLOYMENTS: Final = Resource("apps", "v1", "Deployment", "deployments")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_ROLE_BINDINGS: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False
)
CUSTOM_RESOURCE_DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
MUTATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False
)
VALIDATING_WEBHOOKS: Final = Resource(
    "admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False
)
NETWORK_POLICIES: Final = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
PRIORITY_CLASSES: Final = Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)
LEASES: Final = Resource("coordination.k8s.io", "v1", "Lease", "leases")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")

CHART_KINDS: Final = (
    CUSTOM_RESOURCE_DEFINITIONS,
    SERVICE_ACCOUNTS,
    CONFIG_MAPS,
    SECRETS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    ROLES,
    ROLE_BINDINGS,
    NETWORK_POLICIES,
    SERVICES,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
)
"""Every kind that this chart version or an earlier one may render, in dependency order.

The trigger watches them, applying follows this order, and removal finds what any version left.
"""
APPLY_WAVES: Final = (
    (CUSTOM_RESOURCE_DEFINITIONS, SERVICE_ACCOUNTS, CONFIG_MAPS, CLUSTER_ROLES, ROLES, NETWORK_POLICIES),
    (SECRETS, CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS, SERVICES),
    (DEPLOYMENTS,),
    (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS),
)
"""Objects of one wave do not need each other and are applied side by side; webhooks come last.

Credentials come after the ConfigMap, on which is noted where they are put.
"""


def chart_kind(obj: Mapping[str, Any]) -> Resource:
    """The resource of a rendered object.

    Raises:
        ValueError: the object has no known kind or no name.
    """
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    meta = obj.get("metadata")
    if not isinstance(meta, Mapping) or not isinstance(meta.get("name"), str) or not meta["name"]:
        raise ValueError(f"the chart renders a {kind} without a name")
    for resource in CHART_KINDS:
        if (resource.api_version, resource.kind) == (api_version, kind):
            return resource
    known = ", ".join(resource.kind for resource in CHART_KINDS)
    raise ValueError(f"the chart renders a {api_version} {kind}, which is not supported; supported kinds: {known}")
