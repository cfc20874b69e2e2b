"""Which objects of the cluster the manager installed.

Only what carries our label *and* has a name that this or an earlier chart renders is ours to remove. A label is easily
copied, and so is authorship: whoever may write an object may name our field manager. A name is not: who could give an
object of that kind that name holds the operand's place already.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from kube.answers import Object, Objects
from kube.client import Kube
from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NETWORK_POLICIES,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    SERVICES,
    VALIDATING_WEBHOOKS,
    Resource,
)
from models.names import (
    FIELD_MANAGER,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MANAGED_SECRETS,
    MANAGED_SELECTOR,
    OPERAND,
    OPERAND_CA_CERTIFICATES,
    OPERAND_CONFIG,
    OPERAND_DEPLOYMENT,
    OPERAND_WEBHOOK_SERVICE,
)

RENDERED_NAMES: Final[Mapping[Resource, frozenset[str]]] = {
    CUSTOM_RESOURCE_DEFINITIONS: frozenset(
        f"{kind.plural}.{kind.group}" for kind in (SERVICE_INSTANCES, SERVICE_BINDINGS)
    ),
    SERVICE_ACCOUNTS: frozenset({OPERAND}),
    CONFIG_MAPS: frozenset({OPERAND_CONFIG, OPERAND_CA_CERTIFICATES}),
    SECRETS: frozenset(MANAGED_SECRETS),
    CLUSTER_ROLES: frozenset(
        {f"{OPERAND}-manager-role", f"{OPERAND}-proxy-role", f"{OPERAND}-metrics-reader"}  # the last two until 0.10.2
    ),
    CLUSTER_ROLE_BINDINGS: frozenset({f"{OPERAND}-manager-rolebinding", f"{OPERAND}-proxy-rolebinding"}),
    ROLES: frozenset({f"{OPERAND}-leader-election-role"}),
    ROLE_BINDINGS: frozenset({f"{OPERAND}-leader-election-rolebinding"}),
    NETWORK_POLICIES: frozenset(
        f"kyma-project.io--{name}"
        for name in (
            "btp-operator-allow-to-apiserver",
            "btp-operator-to-dns",
            "allow-btp-operator-metrics",
            "allow-btp-operator-webhook",
            "btp-operator-allow-to-webhook",  # of early releases of the Go manager
        )
    ),
    SERVICES: frozenset({OPERAND_WEBHOOK_SERVICE, f"{OPERAND}-controller-manager-metrics-service"}),
    DEPLOYMENTS: frozenset({OPERAND_DEPLOYMENT}),
    MUTATING_WEBHOOKS: frozenset({f"{OPERAND}-mutating-webhook-configuration"}),
    VALIDATING_WEBHOOKS: frozenset({f"{OPERAND}-validating-webhook-configuration"}),
}
"""Every name that this chart, or an earlier one of this manager or of the Go manager, renders. A test compares it with
the chart."""


async def managed(kube: Kube, resource: Resource, namespace: str | None, *, metadata_only: bool = False) -> Objects:
    """The objects of a kind that carry our label, in one namespace or, if it has none, in the cluster.

    Secrets are asked for one by one: RBAC cannot restrict a list by label, and a list shows the values of all.
    """
    if resource is not SECRETS:
        return (await kube.list(resource, namespace, labels=MANAGED_SELECTOR, metadata_only=metadata_only)).items
    found = await asyncio.gather(
        *(kube.find(SECRETS, name, namespace, metadata_only=metadata_only) for name in MANAGED_SECRETS)
    )
    return [secret for secret in found if secret and is_labelled(secret)]


def is_ours(resource: Resource, obj: Object) -> bool:
    """Whether an object that carries our label has a name that we give."""
    return obj["metadata"]["name"] in RENDERED_NAMES[resource]


def written_by_us(obj: Object) -> bool:
    """Whether our field manager wrote the object (metadata.managedFields)."""
    entries = obj["metadata"].get("managedFields") or []
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def is_labelled(obj: Object) -> bool:
    """Whether the object carries our label: somebody may have taken it away."""
    return (obj["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
