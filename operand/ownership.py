"""Finds what the manager installed, by its label, without a right to see what is somebody else's."""

import asyncio

from kube.answers import Object, Objects
from kube.client import Kube
from kube.resources import SECRETS, Resource
from models.names import FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL, MANAGED_SECRETS, MANAGED_SELECTOR


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


def written_by_us(obj: Object) -> bool:
    """Whether our field manager wrote the object (metadata.managedFields)."""
    entries = obj["metadata"].get("managedFields") or []
    return any(entry.get("manager") == FIELD_MANAGER for entry in entries)


def is_labelled(obj: Object) -> bool:
    """Whether the object carries our label: somebody may have taken it away."""
    return (obj["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY
