"""Which ServiceInstances and ServiceBindings there are in the cluster: what lives there is not abandoned."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from kube.answers import Object, part
from kube.client import Kube
from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES
from models.text import plain
from operand.service_manager import Kind
from operand.service_objects import none_if_undefined

RESOURCES: Final = {Kind.BINDING: SERVICE_BINDINGS, Kind.INSTANCE: SERVICE_INSTANCES}
IDS: Final = {Kind.BINDING: ("bindingID", "instanceID"), Kind.INSTANCE: ("instanceID", "bindingID")}
"""In a status: an object's own id, and one that it uses."""
FRESH: Final = 10.0
"""Seconds for which a look is believed, from its beginning: thousands of objects take a while."""


def _now() -> tuple[float, float]:
    """By two clocks: one also runs while the process is frozen, the other while the machine is."""
    return time.monotonic(), time.time()


@dataclass(frozen=True)
class Here:
    """An object that is in the cluster."""

    sap_id: str
    """Its own, in lower case; "" as long as the operand has not written it."""
    uid: str
    kept_by: str
    """What keeps it, if it is being deleted; "" for a living one."""


@dataclass(frozen=True)
class LivingObjects:
    """What there is in the cluster, seen at one moment."""

    ids: Mapping[str, str] = field(default_factory=dict)
    """By each id in SAP BTP, in lower case, that an object has or uses: that object's name."""
    names: Mapping[tuple[Kind, str, str], Here] = field(default_factory=dict)
    """By kind, namespace and name."""
    looked: tuple[float, float] = field(default_factory=_now)
    """When the look began: its answer may be old when it is read."""

    def is_fresh(self) -> bool:
        return max(now - then for now, then in zip(_now(), self.looked, strict=True)) <= FRESH


async def look_at_living_objects(kube: Kube) -> LivingObjects:
    """All ServiceInstances and ServiceBindings there are.

    Raises:
        KubeError: the API server does not answer.
    """
    looked = _now()
    ids: dict[str, str] = {}
    names: dict[tuple[Kind, str, str], Here] = {}
    for kind, resource in RESOURCES.items():
        async with none_if_undefined(kube, resource):
            async for page, _ in kube.pages(resource):
                for obj in page:
                    meta = obj["metadata"]
                    status = part(obj, "status")
                    own, used = (str(status.get(key) or "").lower() for key in IDS[kind])
                    names[kind, meta["namespace"], meta["name"]] = Here(own, meta["uid"], _kept_by(obj))
                    ids |= dict.fromkeys(filter(None, (own, used)), plain(resource.named(obj), 150))
    return LivingObjects(ids, names, looked)


def _kept_by(obj: Object) -> str:
    meta = obj["metadata"]
    finalizers = ", ".join(map(str, meta.get("finalizers") or [])) or "the API server"
    return plain(finalizers, 100) if meta.get("deletionTimestamp") else ""
