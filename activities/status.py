"""Writes a CR's status, and a Kubernetes Event whenever its state changes."""

from datetime import UTC, datetime

import structlog
from temporalio import activity

from activities.edge import checked
from kube.answers import Object
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS
from models.conditions import MEANING, State, ready_condition, status_after
from models.names import API_GROUP, API_VERSION, KIND
from models.status import EventInput, StatusInput
from operand.events import record_event

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
            deletion = input.deletion.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            if (obj.get("status") or {}).get("deletion") != deletion:
                status = {**(status or {}), "deletion": deletion}
        if status is None:
            return False
        before = ready_condition(obj.get("status"))
        if "state" in status and before.get("reason") != finding.reason.value:
            # First, and once for this version of the CR: where the answer to the write of the status is lost, the
            # retry finds it written and has nothing more to say.
            warning = MEANING[finding.reason].state in (State.ERROR, State.WARNING)
            await self._emit(obj, finding.reason.value, status["conditions"][0]["message"], warning)
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
        log.info("status", cr=str(ref), state=MEANING[finding.reason].state.value, reason=finding.reason.value)
        return True

    @activity.defn
    @checked
    async def record_event(self, input: EventInput) -> None:
        """Record an Event on the CR, beside its status."""
        obj = await self._kube.find(BTP_OPERATORS, input.ref.name, input.ref.namespace)
        if obj is not None and obj["metadata"]["uid"] == input.ref.uid:
            await self._emit(obj, input.reason, input.message, input.warning)

    async def _emit(self, obj: Object, reason: str, message: str, warning: bool) -> None:
        meta = obj["metadata"]
        about = {"apiVersion": f"{API_GROUP}/{API_VERSION}", "kind": KIND}
        about |= {key: meta[key] for key in ("name", "namespace", "uid")}
        await record_event(self._kube, about, reason, message, warning, once=meta["resourceVersion"])
