"""The kinds this manager knows, with their addresses in the API.

A fixed table instead of discovery: discovery costs one request per API group and grows with the cluster's CRDs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.names import API_GROUP, API_VERSION, KIND


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
        """The URL path of the collection, or of one object in it."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)

    def named(self, obj: Mapping[str, Any]) -> str:
        """`Kind namespace/name`, as messages name an object."""
        meta = obj.get("metadata") or {}
        where = f"{meta['namespace']}/" if self.namespaced and meta.get("namespace") else ""
        return f"{self.kind} {where}{meta.get('name')}"


BTP_OPERATORS: Final = Resource(API_GROUP, API_VERSION, KIND, "btpoperators")
SERVICE_INSTANCES: Final = Resource("services.cloud.sap.com", "v1", "ServiceInstance", "serviceinstances")
SERVICE_BINDINGS: Final = Resource("services.cloud.sap.com", "v1", "ServiceBinding", "servicebindings")

NAMESPACES: Final = Resource("", "v1", "Namespace", "namespaces", namespaced=False)
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
"""Every kind that this chart version or an earlier one may render, in the order in which they stand up by themselves.

The trigger watches them, applying follows this order, and removal finds what any version left.
"""
APPLY_WAVES: Final = (
    (CUSTOM_RESOURCE_DEFINITIONS, SERVICE_ACCOUNTS, CONFIG_MAPS, SECRETS, CLUSTER_ROLES, ROLES, NETWORK_POLICIES),
    (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS, SERVICES),
    (DEPLOYMENTS,),
    (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS),
)
"""Objects of one wave do not need each other and are applied side by side; webhooks come last."""


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
