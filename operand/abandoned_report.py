"""Remembers, in ConfigMaps that survive, what a soft delete leaves behind in SAP BTP.

An object is written down before its finalizer goes: a crash in between names one too many, never one too few. A report
never stops the deletion that it is made for: where kyma-system is going, or the API server refuses the ConfigMaps (a
quota, a policy, a right that is missing), it becomes Events in namespace default; where they are full, the rest is
counted.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

from kube.answers import part
from kube.client import Kube
from kube.errors import NotFound, Refused
from kube.resources import CONFIG_MAPS, SERVICE_BINDINGS, Resource
from models.deletion_record import LONGEST_BECAUSE
from models.deprovision import MAX_NAMED, AbandonedObject
from models.names import (
    ABANDONED_REPORT,
    KYMA_NAMESPACE,
    REPORT_LABEL,
)
from models.operators import OperatorRef
from models.text import plain
from operand.events import LONGEST as LONGEST_EVENT
from operand.events import write_event
from operand.mandated import MandatedKube
from operand.report_parts import KEY, MOST_PARTS, notes, part_name, stored_parts, text_of
from operand.service_objects import is_protected, kept_by, last_message

PART_SIZE: Final = 700_000
"""Bytes in one ConfigMap; the API's limit is 1 MiB for the whole object. More goes into sap-btp-abandoned-2, -3, ..."""
NOTE: Final = (
    "The BtpOperator went without SAP Service Manager having deleted these ServiceInstances and ServiceBindings. They "
    "may still exist, and be charged for, in SAP BTP. Delete them there, then delete this ConfigMap."
)
LONGEST_ID: Final = 100
"""Characters; Service Manager's ids are UUIDs of 36, but who may write a status may write anything."""
ELSEWHERE: Final = "may live on in SAP BTP: "
log = structlog.get_logger(__name__)


class AbandonedReport:
    """The list of abandoned objects, one JSON object a line, in as many ConfigMaps as it needs."""

    def __init__(self, kube: Kube, held: MandatedKube, ref: OperatorRef, because: str = "") -> None:
        self._kube = kube
        self._held = held
        self._ref = ref
        self._because = plain(because, LONGEST_BECAUSE)
        self._lines: dict[str, str] = {}
        self._stored: list[str] = []
        self._mine: dict[str, AbandonedObject | None] = {}
        self.trouble = ""
        """Why the ConfigMaps cannot be read or written; Events in namespace default name what is abandoned then."""

    @property
    def total(self) -> int:
        """How many objects the deletion of this CR has let go, whichever attempt wrote them down."""
        return len(self._mine)

    @property
    def first(self) -> list[AbandonedObject]:
        """The first that the deletion of this CR let go, as many as a workflow's result names."""
        return [each for each in self._mine.values() if each is not None][:MAX_NAMED]

    async def load(self) -> None:
        """Go on with what an earlier attempt, or an earlier deletion, wrote."""
        try:
            async for part in stored_parts(self._kube):
                self._read(text_of(part))
        except Refused as error:
            self.trouble = str(error)

    def _read(self, text: str) -> None:
        self._stored.append(text)
        for line in filter(None, text.splitlines()):
            entry = _entry(line)
            uid = str(entry.get("uid", line))
            self._lines[uid] = line
            if entry.get("cr") == self._ref.uid:
                self._note(uid, AbandonedObject.model_validate(entry))

    async def add(self, objects: list[tuple[str, AbandonedObject]]) -> None:
        """Write down these objects, by uid, before they are let go.

        Raises:
            KubeError: they can be written nowhere now: then nothing may be abandoned.
        """
        new = [(uid, each) for uid, each in objects if uid not in self._mine]
        if not new:
            return
        for uid, abandoned in new:
            line = {"uid": uid, "cr": self._ref.uid, **abandoned.model_dump(exclude_defaults=True)}
            self._lines[uid] = json.dumps(line, ensure_ascii=False)
            self._note(uid, abandoned)
            log.warning("abandoned", **abandoned.model_dump(exclude_defaults=True))
        await self._store_unless_refused()
        if self.trouble:
            await self._record_elsewhere([each for _, each in new])

    async def take_back(self, uids: Iterable[str]) -> None:
        """Strike out objects that could not be let go after all."""
        struck = [uid for uid in uids if self._lines.pop(uid, None) is not None]
        for uid in struck:
            self._mine.pop(uid, None)
        if struck:
            await self._store_unless_refused()

    async def _store_unless_refused(self) -> None:
        if self.trouble:
            return
        try:
            await self._store()
        except (Refused, NotFound) as error:
            self.trouble = str(error)

    async def _store(self) -> None:
        parts, left_out = _parts(list(self._lines.values()))
        for number in range(1, max(len(parts), len(self._stored)) + 1):
            text = parts[number - 1] if number <= len(parts) else ""
            if number <= len(self._stored) and self._stored[number - 1] == text:
                continue
            data = {"note": NOTE, "because": self._because, "total": str(len(self._lines)), KEY: text}
            if left_out:
                data["notListed"] = f"{left_out} more, for which there is no room here; the worker's log names them"
            await self._held.apply(
                CONFIG_MAPS,
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {
                        "name": part_name(number),
                        "namespace": KYMA_NAMESPACE,
                        "labels": {REPORT_LABEL: ABANDONED_REPORT},
                        "annotations": notes(text),
                    },
                    "data": data,
                },
            )
        self._stored = parts

    async def _record_elsewhere(self, objects: list[AbandonedObject]) -> None:
        """Events about the namespace: they live in namespace default."""
        texts = [""]
        for each in objects:
            named = f"{each.kind} {each.namespace}/{each.name}" + (f" ({each.sap_id})" if each.sap_id else "")
            longer = f"{texts[-1]}, {named}" if texts[-1] else f"{ELSEWHERE}{named}"
            if len(longer) <= LONGEST_EVENT:
                texts[-1] = longer
            else:
                texts.append(f"{ELSEWHERE}{named}")
        for text in texts:
            about = {"apiVersion": "v1", "kind": "Namespace", "name": KYMA_NAMESPACE}
            await write_event(self._kube, about, "ServiceObjectsAbandoned", text, warning=True, once=self._ref.uid)

    def _note(self, uid: str, abandoned: AbandonedObject) -> None:
        """Of thousands only the uid is kept here: their lines say the rest."""
        self._mine.setdefault(uid, abandoned if len(self._mine) < MAX_NAMED else None)


def _parts(lines: list[str]) -> tuple[list[str], int]:
    """The lines in as many texts as they need and may have, and how many lines did not fit."""
    parts: list[list[str]] = [[]]
    size = 0
    for index, line in enumerate(lines):
        length = len(line.encode()) + 1
        if size + length > PART_SIZE and parts[-1]:
            if len(parts) == MOST_PARTS:
                return ["\n".join(part) for part in parts], len(lines) - index
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += length
    return ["\n".join(part) for part in parts], 0


def _entry(line: str) -> dict[str, Any]:
    """A line as it was written; nothing of it if a person edited it: then it is kept as it is."""
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        AbandonedObject.model_validate(entry := json.loads(line))
        return dict(entry)
    return {}


def as_abandoned(resource: Resource, obj: Mapping[str, Any]) -> AbandonedObject:
    """What a report says of a ServiceBinding or ServiceInstance."""
    meta, status = obj["metadata"], part(obj, "status")
    return AbandonedObject(
        kind=resource.kind,
        namespace=meta["namespace"],
        name=meta["name"],
        sap_id=plain(status.get("bindingID" if resource is SERVICE_BINDINGS else "instanceID") or "", LONGEST_ID),
        broker_message=last_message(obj),
        kept_by=kept_by(obj),
        protected=is_protected(obj),
    )
