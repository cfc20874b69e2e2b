"""The table of rights: what worker and trigger need in the cluster, and what of it whoever runs this does not have.

`chart/btp-manager` grants these and no others; tests/chart/test_rights.py compares both, and
tests/e2e/test_least_privilege.py proves that each one is used.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
    chart_kind,
)
from kube.side_by_side import side_by_side
from models.names import (
    GO_MANAGER_LEASE,
    KYMA_NAMESPACE,
    MANAGED_SECRETS,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
    WEBHOOK_CHECK,
)
from operand.ownership import RENDERED_NAMES
from operand.report_parts import MOST_PARTS, part_name
from trigger.watcher import sources

ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False
)
BTP_OPERATOR_STATUS: Final = Resource(
    BTP_OPERATORS.group, BTP_OPERATORS.version, BTP_OPERATORS.kind, f"{BTP_OPERATORS.plural}/status"
)
CLUSTER: Final = "kube-system"
"""The namespace whose uid says which cluster this is."""
Right = tuple[Resource, str, str | None, str | None]
"""Kind, verb, namespace (None for all), name (None for all)."""


@dataclass(frozen=True)
class Grant:
    """A row of the table."""

    kind: Resource
    verbs: str
    namespace: str | None = None
    names: tuple[str, ...] = ()
    """Empty for all: names that are not known, or a verb that RBAC cannot restrict by name."""

    def rights(self) -> Iterator[Right]:
        for verb in self.verbs.split():
            for name in self.names or (None,):
                yield self.kind, verb, self.namespace, name


FIXED: Final = (
    Grant(BTP_OPERATORS, "get list watch patch"),
    Grant(BTP_OPERATOR_STATUS, "patch"),
    Grant(EVENTS, "create"),
    # What has to be there.
    Grant(NAMESPACES, "get", names=(KYMA_NAMESPACE, CLUSTER)),
    Grant(PRIORITY_CLASSES, "get"),
    # Hard and soft delete. Secrets of bindings have any name; `patch` takes the operand's finalizer off one.
    Grant(SERVICE_BINDINGS, "list watch patch delete deletecollection"),
    Grant(SERVICE_INSTANCES, "list watch patch delete deletecollection"),
    Grant(SECRETS, "get patch delete"),
    Grant(CONFIG_MAPS, "get create patch delete", KYMA_NAMESPACE, tuple(part_name(1 + n) for n in range(MOST_PARTS))),
    # Whether the operand is there, and its webhooks answer.
    Grant(CONFIG_MAPS, "get", KYMA_NAMESPACE, (OPERAND_CONFIG,)),
    Grant(CUSTOM_RESOURCE_DEFINITIONS, "watch"),
    Grant(DEPLOYMENTS, "watch", KYMA_NAMESPACE),
    Grant(ENDPOINT_SLICES, "list watch", KYMA_NAMESPACE),
    Grant(PODS, "list", KYMA_NAMESPACE),
    Grant(NODES, "get"),
    Grant(SERVICE_INSTANCES, "create patch", KYMA_NAMESPACE, (WEBHOOK_CHECK,)),
    # Whether the Go manager runs.
    Grant(LEASES, "get", KYMA_NAMESPACE, (GO_MANAGER_LEASE,)),
)
"""What the worker needs, whatever the operand's chart renders."""


def needed(objects: Iterable[Object]) -> list[Right]:
    """The rights of a worker whose chart renders these objects."""
    rendered = {(chart_kind(obj), obj["metadata"]["name"]) for obj in objects}
    grants = list(FIXED)
    for kind in CHART_KINDS:
        namespace = KYMA_NAMESPACE if kind.namespaced else None
        names = tuple(sorted(name for of, name in rendered if of is kind))
        old = tuple(sorted(RENDERED_NAMES[kind].difference(names)))
        if kind is SECRETS:  # never listed; the worker makes certificates itself, and may delete Secrets of any name
            grants.append(Grant(kind, "create patch", namespace, MANAGED_SECRETS))
            continue
        grants.append(Grant(kind, "list", namespace))
        if names:
            grants.append(Grant(kind, "create patch delete", namespace, names))
        if old:
            grants.append(Grant(kind, "delete", namespace, old))
    return [right for grant in grants for right in grant.rights()]


def needed_for_credentials(namespace: str) -> list[Right]:
    """The further rights of a worker that puts the operand's credentials into that namespace."""
    return list(Grant(SECRETS, "create patch", namespace, (OPERAND_CREDENTIALS_SECRET,)).rights())


def needed_for_installation(place: str) -> list[Right]:
    """The further right of a worker whose settings say which Deployment it is of (BTP_INSTALLATION)."""
    namespace, name, _ = place.split("/")
    return list(Grant(DEPLOYMENTS, "get", namespace, (name,)).rights())


def needed_by_trigger() -> list[Right]:
    """The rights of the trigger: to follow what a BtpOperator depends on."""
    grants = [Grant(BTP_OPERATORS, "list watch"), Grant(NAMESPACES, "get", names=(CLUSTER,))]
    for source in sources():
        name = source.fields.partition("metadata.name=")[2]
        grants.append(Grant(source.resource, "list watch", source.namespace, (name,) if name else ()))
    return [right for grant in grants for right in grant.rights()]


async def not_allowed(kube: Kube, wanted: list[Right]) -> list[Right]:
    """Those that the API server says whoever runs this does not have (SelfSubjectAccessReview).

    Raises:
        KubeError: it does not say.
    """

    async def allowed(right: Right) -> bool:
        resource, verb, namespace, name = right
        plural, _, subresource = resource.plural.partition("/")
        attributes = {
            "group": resource.group,
            "resource": plural,
            "subresource": subresource,
            "verb": verb,
            "namespace": namespace or "",
            "name": name or "",
        }
        review: Object = {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": ACCESS_REVIEWS.kind,
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        answer = await kube.review(ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))

    answers = await side_by_side(allowed, wanted)
    return [right for right, yes in zip(wanted, answers, strict=True) if not yes]
