"""What earlier settings left behind: credentials in a namespace that is no longer theirs, a cluster id of before.

Where credentials were put is noted on the operand's ConfigMap before they are, and struck out when they are gone: so it
is known after any failure in between. The note only says where to look, because others may write it. What is deleted
is decided by what is found there: it carries our label, and our field manager wrote it.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import CONFIG_MAPS, SECRETS
from models.credentials import is_namespace_name
from models.names import (
    CREDENTIALS_NAMESPACES_ANNOTATION,
    KYMA_NAMESPACE,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
)
from operand.mandated import MandatedKube
from operand.ownership import is_labelled, written_by_us

INITIAL_CLUSTER_ID: Final = "INITIAL_CLUSTER_ID"
MOST_PLACES: Final = 20
"""Namespaces looked at, at most: the note may have been written by anybody."""


def noting(config: Object, namespaces: Iterable[str]) -> Object:
    """The operand's ConfigMap with a note of the namespaces that hold credentials, or may."""
    note = {CREDENTIALS_NAMESPACES_ANNOTATION: ",".join(sorted(namespaces))}
    meta = config["metadata"]
    return {**config, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **note}}}


async def former_namespaces(kube: Kube, current: str) -> set[str]:
    """Other namespaces than the current one in which our credentials still are."""
    places = _noted(await kube.find(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)) - {current}
    return {place for place in places if await our_credentials(kube, place, metadata_only=True)}


async def installed_namespaces(kube: Kube) -> list[str]:
    """Every namespace in which our credentials are; kyma-system comes first."""
    places = _noted(await kube.find(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE))
    found = [place for place in places if await our_credentials(kube, place, metadata_only=True)]
    return sorted(found, key=lambda place: (place != KYMA_NAMESPACE, place))


async def our_credentials(kube: Kube, namespace: str, *, metadata_only: bool = False) -> Object | None:
    """The operand's credentials Secret in a namespace, if we wrote it."""
    found = await kube.find(SECRETS, OPERAND_CREDENTIALS_SECRET, namespace, metadata_only=metadata_only)
    return found if found and is_labelled(found) and written_by_us(found) else None


async def forget_credentials(kube: Kube, held: MandatedKube, namespaces: Iterable[str]) -> None:
    """Delete our credentials where they are no longer used, after the cluster id that the operand noted beside them."""
    for namespace in sorted(namespaces):
        if credentials := await our_credentials(kube, namespace, metadata_only=True):
            await forget_cluster_id(kube, held, namespace)
            await held.delete(SECRETS, OPERAND_CREDENTIALS_SECRET, namespace, uid=credentials["metadata"]["uid"])


async def forget_cluster_id(kube: Kube, held: MandatedKube, namespace: str, unless: str | None = None) -> None:
    """Delete the Secret in which the operand keeps the first cluster id it saw, unless it is this one.

    With another id in kyma-system the operand does not start. A Secret of that name without an id is somebody else's.
    """
    found = await kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, namespace)
    kept = _text(((found or {}).get("data") or {}).get(INITIAL_CLUSTER_ID))
    if found and kept is not None and kept != unless:
        await held.delete(SECRETS, OPERAND_CLUSTER_ID_SECRET, namespace, uid=found["metadata"]["uid"])


def _noted(config: Object | None) -> set[str]:
    """Where the installed configuration says that credentials are: our note, or what the operand was told."""
    annotations = ((config or {}).get("metadata") or {}).get("annotations") or {}
    note = str(annotations.get(CREDENTIALS_NAMESPACES_ANNOTATION) or "").split(",")
    told = str(((config or {}).get("data") or {}).get("RELEASE_NAMESPACE") or "")
    names = sorted({name for name in (*note, told) if is_namespace_name(name)})
    return {KYMA_NAMESPACE, *names[:MOST_PLACES]}


def _text(value: Any) -> str | None:
    try:
        return None if value is None else base64.b64decode(value).decode(errors="replace")
    except (binascii.Error, TypeError):
        return None
