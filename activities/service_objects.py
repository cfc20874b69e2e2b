"""ServiceBindings and ServiceInstances as deletion sees them: a few words of each, never the whole object."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Gauge
from temporalio import activity

from activities.managed import managed
from kube.answers import Object
from kube.client import Kube
from kube.errors import NotFound
from kube.readiness import unready
from kube.resources import DEPLOYMENTS, SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.names import KYMA_NAMESPACE, OPERAND_DEPLOYMENT, OPERAND_FINALIZER
from models.operators import OperatorRef
from models.workflow_io import Remaining

NAMED = 3
FRESH: Final = 150.0
"""Seconds for which a count is shown: while a deletion waits it is made anew every minute, by any of the workers."""
LEFT = Gauge("btp_deprovision_remaining", "Service objects that a deletion waits for", ("kind",))


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """What is kept of one while it is waited for: with 10,000 of them, little."""

    uid: str
    deleting: bool
    secret: str
    message: str
    kept_by: str
    """The finalizers of others that keep it although the operand is done with it; no request hastens these."""

    @classmethod
    def digest(cls, obj: Mapping[str, Any]) -> "ServiceObject":
        meta, spec = obj["metadata"], obj.get("spec") or {}
        done = meta.get("deletionTimestamp") and not is_held(obj)
        bound = "serviceInstanceName" in spec
        return cls(
            uid=meta["uid"],
            deleting=bool(meta.get("deletionTimestamp")),
            secret=spec.get("secretName") or (meta["name"] if bound else ""),
            message=last_message(obj) if meta.get("deletionTimestamp") else "",
            kept_by=", ".join(kept_by(obj)) if done else "",
        )


def is_held(obj: Mapping[str, Any]) -> bool:
    """Whether the operand's finalizer is on it."""
    return OPERAND_FINALIZER in (obj["metadata"].get("finalizers") or [])


def kept_by(obj: Mapping[str, Any]) -> list[str]:
    """Finalizers of others: not ours to take off."""
    return [name for name in obj["metadata"].get("finalizers") or [] if name != OPERAND_FINALIZER]


def last_message(obj: Mapping[str, Any]) -> str:
    """What the broker last said: the message of the condition Succeeded, if it reports a failure."""
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Succeeded" and str(condition.get("reason", "")).endswith(("Failed", "Blocked")):
            return str(condition.get("message", ""))[:300]
    return ""


def is_controlled_by(obj: Object, uid: str) -> bool:
    """Whether the object belongs to that owner (metav1.OwnerReference with controller=true)."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


async def is_operand_needed(kube: Kube) -> bool:
    """Whether any service object still has to be deleted by the operand."""
    for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        with contextlib.suppress(NotFound):  # the CRD is not there, so nothing of its kind is
            async for page, _ in kube.pages(resource, metadata_only=True):
                if any(is_held(obj) or not obj["metadata"].get("deletionTimestamp") for obj in page):
                    return True
    return False


async def remove_secret(kube: Kube, namespace: str, name: str, binding_uid: str) -> bool:
    """Delete a gone binding's Secret if it was the binding's; another Secret of that name is left alone."""
    # Its values are nobody's business here.
    secret = await kube.find(SECRETS, name, namespace, metadata_only=True)
    if secret is None or not is_controlled_by(secret, binding_uid):
        return False
    return await kube.delete(SECRETS, name, namespace, uid=secret["metadata"]["uid"])


def _show(resource: Resource, count: int) -> None:
    until = time.monotonic() + FRESH
    LEFT.labels(resource.kind).set_function(lambda: count if time.monotonic() < until else 0)


class ServiceObjectActivities:
    """Counts, for progress and for decisions."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def remaining(self, ref: OperatorRef) -> Remaining:
        """How many service objects the cluster has. Three small requests, however many there are."""
        (bindings, some), (instances, more), operand = await asyncio.gather(
            self._count(SERVICE_BINDINGS),
            self._count(SERVICE_INSTANCES),
            self._operand(),
        )
        _show(SERVICE_BINDINGS, bindings)
        _show(SERVICE_INSTANCES, instances)
        return Remaining(
            bindings=bindings,
            instances=instances,
            some=(some + more)[:NAMED],
            operand_lost=operand is None,
            operand_trouble=unready(DEPLOYMENTS, operand) or "" if operand else "does not exist",
        )

    async def _operand(self) -> Object | None:
        there = await managed(self._kube, DEPLOYMENTS, KYMA_NAMESPACE)
        return next((obj for obj in there if obj["metadata"]["name"] == OPERAND_DEPLOYMENT), None)

    async def _count(self, resource: Resource) -> tuple[int, list[str]]:
        try:
            page = await self._kube.first_page(resource, NAMED)
        except NotFound:
            return 0, []  # the CRD is not there, so nothing of its kind is
        return len(page.items) + page.more, [_named(resource, obj) for obj in page.items]


def _named(resource: Resource, obj: Object) -> str:
    keepers = ServiceObject.digest(obj).kept_by
    return f"{resource.named(obj)} (kept by {keepers})" if keepers else resource.named(obj)
