"""Which rights worker and trigger use in the cluster, and which of them whoever runs this does not have."""

import asyncio
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    CONFIG_MAPS,
    LEASES,
    NAMESPACES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
    chart_kind,
)
from models.names import GO_MANAGER_LEASE, KYMA_NAMESPACE
from trigger.watcher import sources

ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False
)
AT_ONCE: Final = 8
Right = tuple[Resource, str, str | None, str | None]
"""Kind, verb, namespace, name."""


def needed(objects: list[Object]) -> list[Right]:
    """The rights of the worker that provisioning and deletion use; `objects` are those of the chart."""
    status = Resource(BTP_OPERATORS.group, BTP_OPERATORS.version, "BtpOperator", "btpoperators/status")
    rights: list[Right] = [(BTP_OPERATORS, verb, None, None) for verb in ("get", "list", "patch")]
    rights.append((status, "patch", None, None))
    for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        rights += [(resource, verb, None, None) for verb in ("list", "watch", "patch", "delete", "deletecollection")]
    rights += [(SECRETS, verb, None, None) for verb in ("get", "patch", "delete")]
    rights.append((LEASES, "get", KYMA_NAMESPACE, GO_MANAGER_LEASE))
    for obj in objects:
        resource, meta = chart_kind(obj), obj["metadata"]
        for verb in ("create", "patch", "delete"):
            rights.append((resource, verb, meta.get("namespace"), meta["name"]))
    return rights


def needed_by_trigger() -> list[Right]:
    """The rights of the trigger: to follow what a BtpOperator depends on."""
    followed: list[tuple[Resource, str | None, str | None]] = [
        (BTP_OPERATORS, None, None),
        (CONFIG_MAPS, KYMA_NAMESPACE, None),
        *((each.resource, each.namespace, each.fields.partition("metadata.name=")[2] or None) for each in sources()),
    ]
    rights: list[Right] = [
        (kind, verb, namespace, name) for kind, namespace, name in followed for verb in ("list", "watch")
    ]
    return [*dict.fromkeys(rights), (NAMESPACES, "get", None, "kube-system")]


async def not_allowed(kube: Kube, wanted: list[Right]) -> list[Right]:
    """Those that the API server says whoever runs this does not have (SelfSubjectAccessReview).

    Raises:
        KubeError: it does not say.
    """
    room = asyncio.Semaphore(AT_ONCE)

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
        async with room:
            answer = await kube.review(ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))

    answers = await asyncio.gather(*map(allowed, wanted))
    return [right for right, yes in zip(wanted, answers, strict=True) if not yes]
