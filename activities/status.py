"""Writes a CR's status, and a Kubernetes Event whenever its state changes."""

import hashlib
from datetime import UTC, datetime
from typing import Final

import structlog
from temporalio import activity

from activities.edge import checked
from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound
from kube.resources import BTP_OPERATORS, EVENTS
from models.conditions import MEANING, State, ready_condition, status_after
from models.names import API_GROUP, API_VERSION, FIELD_MANAGER, KIND
from models.status import StatusInput, WarningInput
from models.text import plain

LONGEST_EVENT: Final = 1000
"""Characters of an Event's message; the API server takes 1024."""
log = structlog.get_logger(__name__)


class StatusActivities:
    """Says on the CR what is so."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def set_status(self, input: StatusInput) -> bool:
        """Write the finding unless the CR says so already, or is gone. Returns whether it wrote."""
        ref, finding = input.ref, input.finding
        obj = await self._kube.find(BTP_OPERATORS, ref.name, ref.namespace)
        if obj is None or obj["metadata"]["uid"] != ref.uid:
            return False
        generation = obj["metadata"].get("generation", 0)
        status = status_after(obj.get("status"), finding.reason, finding.message, generation, datetime.now(UTC))
        if input.deletion:
            deletion = input.deletion.model_dump(mode="json", by_alias=True, exclude_none=True)
            if (obj.get("status") or {}).get("deletion") != deletion:
                status = {**(status or {}), "deletion": deletion}
        if status is None:
            return False
        version = obj["metadata"]["resourceVersion"]
        try:
            await self._kube.merge(
                BTP_OPERATORS,
                ref.name,
                ref.namespace,
                {"metadata": {"resourceVersion": version}, "status": status},
                subresource="status",
            )
        except NotFound:
            return False
        before = ready_condition(obj.get("status"))
        if "state" in status and before.get("reason") != finding.reason.value:
            await self.emit(
                obj, finding.reason.value, status["conditions"][0]["message"], MEANING[finding.reason].state
            )
        log.info("status", cr=str(ref), state=MEANING[finding.reason].state.value, reason=finding.reason.value)
        return True

    @activity.defn
    @checked
    async def record_warning(self, input: WarningInput) -> None:
        """Record a warning Event on the CR, beside its status."""
        obj = await self._kube.find(BTP_OPERATORS, input.ref.name, input.ref.namespace)
        if obj is not None and obj["metadata"]["uid"] == input.ref.uid:
            await self.emit(obj, input.reason, input.message, State.WARNING)

    async def emit(self, obj: Object, reason: str, message: str, state: State) -> None:
        """Record an Event on the CR. Its name follows from what it tells, so a retry makes no second one.

        Events inform; one that cannot be written (quota, a namespace going away) must not stop the work.
        """
        meta = obj["metadata"]
        told = f"{meta['uid']}/{meta['resourceVersion']}/{reason}/{message}"
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{meta['name'][:200]}.{hashlib.sha256(told.encode()).hexdigest()[:16]}",
                "namespace": meta["namespace"],
            },
            "involvedObject": {
                "apiVersion": f"{API_GROUP}/{API_VERSION}",
                "kind": KIND,
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
            "reason": reason,
            "message": plain(message, LONGEST_EVENT),
            "type": "Warning" if state in (State.ERROR, State.WARNING) else "Normal",
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
        }
        try:
            await self._kube.create(EVENTS, event)
        except Conflict:
            pass  # recorded by an earlier attempt
        except KubeError as error:
            log.warning("event not recorded", reason=reason, error=str(error))
