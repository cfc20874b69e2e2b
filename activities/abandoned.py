"""Remembers, in ConfigMaps that survive, what a soft delete leaves behind in SAP BTP.

An object is written down before its finalizer goes: a crash in between names one too many, never one too few.
"""

import json
from typing import Final

from kube.client import Kube
from kube.resources import CONFIG_MAPS
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE
from models.workflow_io import AbandonedObject

PART_SIZE: Final = 700_000
"""Bytes in one ConfigMap; the API's limit is 1 MiB for the whole object. More goes into sap-btp-abandoned-2, -3, ..."""
KEY: Final = "objects.jsonl"
NOTE: Final = (
    "Finalizers were removed from these ServiceInstances and ServiceBindings without SAP Service Manager having "
    "deleted them. They may still exist, and be charged for, in SAP BTP. Delete them there, then delete this ConfigMap."
)


class AbandonedReport:
    """The list of abandoned objects, one JSON object a line, in as many ConfigMaps as it needs."""

    def __init__(self, kube: Kube, because: str = "") -> None:
        self._kube = kube
        self._because = because
        self._lines: dict[str, str] = {}
        self._stored: list[str] = []

    async def load(self) -> None:
        """Go on with what an earlier attempt, or an earlier deletion, wrote."""
        for part in range(1, 1000):
            found = await self._kube.find(CONFIG_MAPS, _name(part), KYMA_NAMESPACE)
            if found is None:
                return
            text = (found.get("data") or {}).get(KEY, "")
            self._stored.append(text)
            self._lines.update({_line_key(line): line for line in text.splitlines() if line})

    async def add(self, objects: list[tuple[str, AbandonedObject]]) -> None:
        """Write down these objects, by uid. Raises KubeError if they cannot be: then nothing may be abandoned."""
        for uid, abandoned in objects:
            line = {"uid": uid, **abandoned.model_dump(exclude_defaults=True)}
            self._lines[uid] = json.dumps(line, ensure_ascii=False)
        parts = _parts(list(self._lines.values()))
        for number, text in enumerate(parts, start=1):
            if number <= len(self._stored) and self._stored[number - 1] == text:
                continue
            await self._kube.apply(
                CONFIG_MAPS,
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": _name(number), "namespace": KYMA_NAMESPACE},
                    "data": {"note": NOTE, "because": self._because, "total": str(len(self._lines)), KEY: text},
                },
            )
        self._stored = parts


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


def _line_key(line: str) -> str:
    try:
        return str(json.loads(line)["uid"])
    except (ValueError, KeyError, TypeError):
        return line  # edited by a person; kept as it is
