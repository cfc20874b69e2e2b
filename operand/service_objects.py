"""ServiceBindings and ServiceInstances as deletion sees them: a few words of each, never the whole object.

Their definition may be another operand's, so a field may be of any type.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kube.answers import Object, items, part
from kube.client import Deletion, Kube
from kube.errors import NotFound, Unavailable
from kube.reader import Listing
from kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    LONGEST_NAME,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
)
from models.names import OPERAND_FINALIZER, PREVENT_DELETION_ANNOTATION
from models.text import plain, some
from operand.mandated import MandatedKube

REFERENCE_PLAN: Final = "reference-instance"
"""The plan of instances that stand for a shared one (SAP's instance sharing)."""


@contextlib.asynccontextmanager
async def none_if_undefined(kube: Kube, resource: Resource) -> AsyncIterator[None]:
    """Read objects of a kind: where its definition is not there, nothing of it is, and the block ends.

    Raises:
        Unavailable: the definition is there and serves other versions only. There may be any number of them then, and
            who takes them for gone abandons them without a word.
    """
    try:
        yield
    except NotFound as error:
        if await _is_defined(kube, resource):
            name = f"{CUSTOM_RESOURCE_DEFINITIONS.kind} {_definition(resource)}"
            raise Unavailable(f"{name} is there, and does not serve {resource.version}", status=404) from error


async def _is_defined(kube: Kube, resource: Resource) -> bool:
    """Whether there may be objects of a kind: from the moment on in which its definition was served for the first time.

    By a list, for which the worker has the right.
    """
    found = await kube.list(CUSTOM_RESOURCE_DEFINITIONS, fields=f"metadata.name={_definition(resource)}")
    conditions = [each for crd in found.items for each in (crd.get("status") or {}).get("conditions") or []]
    return any((each.get("type"), each.get("status")) == ("Established", "True") for each in conditions)


def _definition(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}"


async def first_few(kube: Kube, resource: Resource, most: int) -> Listing | None:
    """A few objects of a kind, and how many more there are; None if its CRD is not there, and so nothing of it."""
    async with none_if_undefined(kube, resource):
        return await kube.first_page(resource, most)
    return None


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """What is kept of one while it is waited for: with 10,000 of them, little."""

    uid: str
    deleting: bool
    secret: str
    message: str
    kept_by: str
    """The finalizers of others that keep it although the operand has released it; no request makes these go faster."""
    instance: tuple[str, str] | None = None
    """Of a binding: namespace and name of the ServiceInstance that it binds."""
    shared: bool = False
    """Of an instance: others may refer to it, and Service Manager refuses to delete it before they are gone."""
    refers: bool = False
    """Of an instance: it stands for a shared one."""

    @classmethod
    def digest(cls, obj: Mapping[str, Any]) -> "ServiceObject":
        meta, spec = obj["metadata"], part(obj, "spec")
        done = meta.get("deletionTimestamp") and not is_held(obj)
        bound = "serviceInstanceName" in spec
        return cls(
            uid=meta["uid"],
            deleting=bool(meta.get("deletionTimestamp")),
            secret=_name(spec.get("secretName")) or (meta["name"] if bound else ""),
            message=last_message(obj) if meta.get("deletionTimestamp") else "",
            kept_by=", ".join(kept_by(obj)) if done else "",
            instance=_instance_of(meta, spec) if bound else None,
            shared=spec.get("shared") is True,
            refers=spec.get("servicePlanName") == REFERENCE_PLAN,
        )


def _instance_of(meta: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[str, str]:
    """Namespace and name of the instance that a binding binds (ServiceBinding.spec, API v1)."""
    return _name(spec.get("serviceInstanceNamespace")) or meta["namespace"], _name(spec["serviceInstanceName"])


def _name(reference: object) -> str:
    """What should be the name of an object, as far as it can be one: one character more than that is none."""
    return str(reference or "")[: LONGEST_NAME + 1]


def is_held(obj: Mapping[str, Any]) -> bool:
    """Whether the operand's finalizer is on it."""
    return OPERAND_FINALIZER in (obj["metadata"].get("finalizers") or [])


def is_protected(obj: Mapping[str, Any]) -> bool:
    """Whether its owner said preventDeletion, as the operand reads it."""
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(PREVENT_DELETION_ANNOTATION, "")).lower() == "true"


def kept_by(obj: Mapping[str, Any]) -> list[str]:
    """A few of the finalizers of others, which are not ours to take off."""
    return some([name for name in obj["metadata"].get("finalizers") or [] if name != OPERAND_FINALIZER])


def last_message(obj: Mapping[str, Any]) -> str:
    """What the broker last said: the message of the condition Succeeded, if it reports a failure."""
    for condition in items(part(obj, "status"), "conditions"):
        if not isinstance(condition, Mapping) or condition.get("type") != "Succeeded":
            continue
        if str(condition.get("reason", "")).endswith(("Failed", "Blocked")):
            return plain(condition.get("message", ""))
    return ""


def is_controlled_by(obj: Object, uid: str) -> bool:
    """Whether the object belongs to that owner (metav1.OwnerReference with controller=true)."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


async def is_operand_needed(kube: Kube) -> bool:
    """Whether any service object still has to be deleted by the operand."""
    for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        try:
            async for page, _ in kube.pages(resource, metadata_only=True):
                if any(is_held(obj) or not obj["metadata"].get("deletionTimestamp") for obj in page):
                    return True
        except NotFound:
            if await _is_defined(kube, resource):
                return True  # nobody knows; the operand's chart brings the version that is missing
    return False


async def remove_secret(kube: Kube, held: MandatedKube, namespace: str, name: str, binding_uid: str) -> bool:
    """Delete a gone binding's Secret if it was the binding's; another Secret of that name is left alone."""
    # Its values are nobody's business here.
    secret = await kube.find(SECRETS, name, namespace, metadata_only=True)
    if secret is None or not is_controlled_by(secret, binding_uid):
        return False
    return await held.delete(SECRETS, name, namespace, uid=secret["metadata"]["uid"]) is not Deletion.ABSENT


def named(resource: Resource, obj: Object) -> str:
    """`Kind namespace/name`, with the finalizers of others that alone keep it."""
    keepers = ServiceObject.digest(obj).kept_by
    return f"{resource.named(obj)} (kept by {keepers})" if keepers else resource.named(obj)
