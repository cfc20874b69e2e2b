"""Puts the shared cluster back to how it was, and small helpers around it."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound, Refused
from kube.reader import Listing
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    VALIDATING_WEBHOOKS,
    Resource,
)
from models.names import ABANDONED_CONFIGMAP, CREDENTIALS_SECRET, KYMA_NAMESPACE, MANAGED_SELECTOR

WEBHOOKS = (VALIDATING_WEBHOOKS, MUTATING_WEBHOOKS)
PODS = Resource("", "v1", "Pod", "pods")


async def connected(kubeconfig: Path) -> Kube:
    """The cluster with the identity of that file; whoever asked closes it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig))
        return await Kube.from_environment()


async def remove_everything(kube: Kube, patience: float = 90.0) -> None:
    """Webhooks first, then whatever holds a finalizer, then the rest, and wait until it is gone.

    The patience, in seconds, is the API server's own: it looks only every 5 s, for up to a minute, whether the last
    object of a kind is gone, and only then lets the kind's definition go.
    """
    if await kube.find(PRIORITY_CLASSES, KYMA_NAMESPACE) is None:
        await kube.create(PRIORITY_CLASSES, {"metadata": {"name": KYMA_NAMESPACE}, "value": 2000000})
    for kind in WEBHOOKS:
        await delete_all(kube, kind, await kube.list(kind, labels=MANAGED_SELECTOR))
    for kind in (BTP_OPERATORS, SERVICE_BINDINGS, SERVICE_INSTANCES):
        with contextlib.suppress(NotFound):
            await delete_all(kube, kind, await kube.list(kind))
    for kind in reversed(CHART_KINDS):
        await delete_all(kube, kind, await kube.list(kind, labels=MANAGED_SELECTOR))
    await kube.delete(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    await kube.delete_collection(EVENTS, KYMA_NAMESPACE)
    for name in (ABANDONED_CONFIGMAP, f"{ABANDONED_CONFIGMAP}-2"):
        await kube.delete(CONFIG_MAPS, name, KYMA_NAMESPACE)
    deadline = time.monotonic() + patience
    while left := [item async for item in _left(kube)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        await asyncio.sleep(0.02)


async def _left(kube: Kube) -> AsyncIterator[str]:
    """What is not gone yet, and what its conditions say."""
    for kind in (*CHART_KINDS, PODS):
        found = await (kube.list(PODS, KYMA_NAMESPACE) if kind is PODS else kube.list(kind, labels=MANAGED_SELECTOR))
        for obj in found.items:
            conditions = (obj.get("status") or {}).get("conditions") or []
            yield f"{kind.kind} {obj['metadata']['name']} {[each.get('message') for each in conditions]}"


async def delete_all(kube: Kube, kind: Resource, found: Listing) -> None:
    """Take every finalizer off and delete, except for definitions: those the API server ends by itself."""
    for obj in found.items:
        name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace")
        await kube.delete(kind, name, namespace)
        if kind is not CUSTOM_RESOURCE_DEFINITIONS and obj["metadata"].get("finalizers"):
            await free(kube, kind, obj)


async def free(kube: Kube, kind: Resource, obj: Object) -> None:
    """Take every finalizer off."""
    meta = obj["metadata"]
    with contextlib.suppress(NotFound, Conflict, Refused):
        await kube.merge(kind, meta["name"], meta.get("namespace"), {"metadata": {"finalizers": None}})


async def ensure_namespace(kube: Kube, name: str) -> str:
    """A namespace of that name; namespaces are never removed, which takes long and leaves nothing behind."""
    try:
        await kube.create(NAMESPACES, {"metadata": {"name": name}})
    except KubeError as error:
        if error.status != 409:
            raise
    return name


def encoded(values: dict[str, str]) -> dict[str, str]:
    """Secret data as the API wants it."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
