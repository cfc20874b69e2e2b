"""Remembers, in ConfigMaps that survive, what a soft delete leaves behind in SAP BTP.

An object is written down before its finalizer goes: a crash in between names one too many, never one too few.
"""

import contextlib
import json
from typing import Any, Final

from kube.client import Kube
from kube.resources import CONFIG_MAPS
from models.deprovision import MAX_NAMED, AbandonedObject
from models.names import (
    ABANDONED_CONFIGMAP,
    ABANDONED_COUNT_ANNOTATION,
    ABANDONED_REPORT,
    KYMA_NAMESPACE,
    REPORT_LABEL,
)
from models.operators import OperatorRef

PART_SIZE: Final = 700_000
"""Bytes in one ConfigMap; the API's limit is 1 MiB for the whole object. More goes into sap-btp-abandoned-2, -3, ..."""
KEY: Final = "objects.jsonl"
NOTE: Final = (
    "Finalizers were removed from these ServiceInstances and ServiceBindings without SAP Service Manager having "
    "deleted them. They may still exist, and be charged for, in SAP BTP. Delete them there, then delete this ConfigMap."
)


class AbandonedReport:
    """The list of abandoned objects, one JSON object a line, in as many ConfigMaps as it needs."""

    def __init__(self, kube: Kube, ref: OperatorRef, because: str = "") -> None:
        self._kube = kube
        self._ref = ref
        self._because = because
        self._lines: dict[str, str] = {}
        self._stored: list[str] = []
        self._mine: set[str] = set()
        self.first: list[AbandonedObject] = []
        """The first that the deletion of this CR let go, as many as a workflow's result names."""

    @property
    def total(self) -> int:
        """How many objects the deletion of this CR has let go, whichever attempt wrote them down."""
        return len(self._mine)

    async def load(self) -> None:
        """Go on with what an earlier attempt, or an earlier deletion, wrote."""
        for part in range(1, 1000):
            found = await self._kube.find(CONFIG_MAPS, _name(part), KYMA_NAMESPACE)
            if found is None:
                return
            text = (found.get("data") or {}).get(KEY, "")
            self._stored.append(text)
            for line in filter(None, text.splitlines()):
                entry = _entry(line)
                uid = str(entry.get("uid", line))
                self._lines[uid] = line
                if entry.get("cr") == self._ref.uid:
                    self._note(uid, AbandonedObject.model_validate(entry))

    async def add(self, objects: list[tuple[str, AbandonedObject]]) -> None:
        """Write down these objects, by uid. Raises KubeError if they cannot be: then nothing may be abandoned."""
        for uid, abandoned in objects:
            line = {"uid": uid, "cr": self._ref.uid, **abandoned.model_dump(exclude_defaults=True)}
            self._lines[uid] = json.dumps(line, ensure_ascii=False)
            self._note(uid, abandoned)
        parts = _parts(list(self._lines.values()))
        for number, text in enumerate(parts, start=1):
            if number <= len(self._stored) and self._stored[number - 1] == text:
                continue
            await self._kube.apply(
                CONFIG_MAPS,
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {
                        "name": _name(number),
                        "namespace": KYMA_NAMESPACE,
                        "labels": {REPORT_LABEL: ABANDONED_REPORT},
                        "annotations": {ABANDONED_COUNT_ANNOTATION: str(text.count("\n") + 1)},
                    },
                    "data": {"note": NOTE, "because": self._because, "total": str(len(self._lines)), KEY: text},
                },
            )
        self._stored = parts

    def _note(self, uid: str, abandoned: AbandonedObject) -> None:
        """Of thousands only the uid is kept here: their lines say the rest."""
        if uid not in self._mine and len(self.first) < MAX_NAMED:
            self.first.append(abandoned)
        self._mine.add(uid)


def _name(part: int) -> str:
    return ABANDONED_CONFIGMAP if part == 1 else f"{ABANDONED_CONFIGMAP}-{part}"


def _parts(lines: list[str]) -> list[str]:
    parts: list[list[str]] = [[]]
    size = 0
    for line in lines:
        length = len(line.encode()) + 1
        if size + length > PART_SIZE and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += length
    return ["\n".join(part) for part in parts]


def _entry(line: str) -> dict[str, Any]:
    """A line as it was written; nothing of it if a person edited it: then it is kept as it is."""
    with contextlib.suppress(ValueError, TypeError):
        AbandonedObject.model_validate(entry := json.loads(line))
        return dict(entry)
    return {}
