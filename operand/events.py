"""Kubernetes Events, written in one way whatever they are about."""

import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Final

import structlog

from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict, KubeError
from kube.resources import EVENTS
from models.names import FIELD_MANAGER
from models.text import plain

LONGEST: Final = 1_000
"""Characters of an Event's message; the API server takes 1024."""
log = structlog.get_logger(__name__)


async def write_event(kube: Kube, about: Object, reason: str, message: str, warning: bool, once: str = "") -> None:
    """Write an Event, at most once for what it says and for `once`: a retry makes no second one.

    Args:
        about: the object in the Event's form (`involvedObject`). Events about what has no namespace live in `default`.
        once: what tells this occasion from an earlier one with the same words.

    Raises:
        KubeError: it cannot be written.
    """
    said = "/".join([about.get("uid", ""), once, reason, message])
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about['name'][:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": about.get("namespace", "default"),
        },
        "involvedObject": about,
        "reason": reason,
        "message": plain(message, LONGEST),
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": FIELD_MANAGER,
    }
    with contextlib.suppress(Conflict):  # written by an earlier attempt
        await kube.create(EVENTS, event)


async def record_event(kube: Kube, about: Object, reason: str, message: str, warning: bool, once: str = "") -> None:
    """The same, for an Event that only informs: one that cannot be written (quota, a namespace going) stops nothing."""
    try:
        await write_event(kube, about, reason, message, warning, once)
    except KubeError as error:
        log.warning("event not recorded", reason=reason, error=str(error))
