"""Puts the shared cluster back to how it was, and small helpers around it."""

import asyncio
import base64
import contextlib

from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound, Refused
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    CONFIG_MAPS,
    EVENTS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
)
from models.names import ABANDONED_CONFIGMAP, CREDENTIALS_SECRET, KYMA_NAMESPACE, MANAGED_SELECTOR, OPERAND


async def remove_everything(kube: Kube) -> None:
    """Webhooks first, then whatever holds a finalizer, then the rest, and wait until it is gone."""
    if await kube.find(PRIORITY_CLASSES, KYMA_NAMESPACE) is None:
        await kube.create(PRIORITY_CLASSES, {"metadata": {"name": KYMA_NAMESPACE}, "value": 2000000})
    for kind in reversed(CHART_KINDS):
        for obj in (await kube.list(kind, labels=MANAGED_SELECTOR)).items:
            await kube.delete(kind, obj["metadata"]["name"], obj["metadata"].get("namespace"))
            if kind.plural == "customresourcedefinitions":
                continue
            if obj["metadata"].get("finalizers"):
                await free(kube, kind, obj)
    for kind in (BTP_OPERATORS, SERVICE_BINDINGS, SERVICE_INSTANCES):
        try:
            objects = (await kube.list(kind)).items
        except NotFound:
            continue
        for obj in objects:
            await free(kube, kind, obj)
            await kube.delete(kind, obj["metadata"]["name"], obj["metadata"]["namespace"])
    await kube.delete(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    await kube.delete_collection(EVENTS, KYMA_NAMESPACE)
    for name in (ABANDONED_CONFIGMAP, f"{ABANDONED_CONFIGMAP}-2"):
        await kube.delete(CONFIG_MAPS, name, KYMA_NAMESPACE)
    for _ in range(500):
        left = [kind.kind for kind in CHART_KINDS if (await kube.list(kind, labels=MANAGED_SELECTOR)).items]
        pods = await kube.list(Resource("", "v1", "Pod", "pods"), KYMA_NAMESPACE)
        if not left and not pods.items:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"still there: {left} {len(pods.items)} pods of {OPERAND}")


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
