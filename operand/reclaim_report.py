"""The report of abandoned objects as reclaim reads it and keeps it true: line by line, never over another's word.

The soft delete of another CR, and people, write to the same ConfigMaps: each write holds only against what was read.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict
from kube.resources import CONFIG_MAPS
from models.names import KYMA_NAMESPACE
from models.reclaim import LEAVES_THE_REPORT, Told
from models.text import plain
from operand.report_parts import KEY, notes, part_name, stored_parts, text_of
from operand.service_manager import Kind

TRIES: Final = 5
KINDS: Final = {"ServiceBinding": Kind.BINDING, "ServiceInstance": Kind.INSTANCE}


@dataclass(frozen=True)
class Entry:
    """One line: what somebody wrote down, which a person may have edited since."""

    uid: str
    cr: str
    """Uid of the BtpOperator whose deletion let it go."""
    kind: Kind
    namespace: str
    name: str
    sap_id: str
    protected: bool | None

    def told(self, **outcome: Any) -> Told:
        kind = next(word for word, kind in KINDS.items() if kind is self.kind)
        fields = {"kind": kind, "namespace": self.namespace, "name": self.name, "sap_id": self.sap_id}
        return Told(**{key: plain(value, 260) for key, value in fields.items()}, **outcome)


@dataclass
class _Part:
    """One ConfigMap."""

    uid: str
    version: str
    text: str
    total: str
    """How many objects it says that all parts name."""


class ReclaimReport:
    """All parts of the report."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._parts: dict[int, _Part] = {}

    async def load(self) -> None:
        """Read all of it."""
        self._parts = {}
        number = 1
        async for found in stored_parts(self._kube):
            self._parts[number] = _part(found)
            number += 1

    async def refresh(self) -> None:
        """Read what has changed since; little is asked where nothing has."""
        if not self._parts:
            await self.load()
        for number, part in list(self._parts.items()):
            seen = await self._kube.find(CONFIG_MAPS, part_name(number), KYMA_NAMESPACE, metadata_only=True)
            if seen is None or seen["metadata"]["resourceVersion"] != part.version:
                await self._read(number)

    def entries(self) -> set[Entry]:
        """Every line that can be read as an object."""
        lines = (line for part in self._parts.values() for line in part.text.splitlines())
        return {entry for line in lines if (entry := _entry(line))}

    async def store(self, outcomes: Mapping[Entry, Told]) -> None:
        """Strike out what need not be reported any more, and say of the rest why it is still there.

        Raises:
            KubeError: it cannot be written; then nothing has to be taken back, for the next round finds the same.
        """
        for number in list(self._parts):
            await self._store_part(number, outcomes)
        await self.tidy()

    async def _store_part(self, number: int, outcomes: Mapping[Entry, Told]) -> None:
        for left in reversed(range(TRIES)):
            part = self._parts.get(number)
            if part is None:
                return
            text = "\n".join(line for old in part.text.splitlines() if (line := _line(old, outcomes)))
            if text == part.text:
                return
            patch = {"metadata": {"resourceVersion": part.version, "annotations": notes(text)}, "data": {KEY: text}}
            try:
                written = await self._kube.merge(CONFIG_MAPS, part_name(number), KYMA_NAMESPACE, patch)
                self._parts[number] = _Part(part.uid, written["metadata"]["resourceVersion"], text, part.total)
                return
            except Conflict:
                if not left:
                    raise
                await self._read(number)

    async def tidy(self) -> None:
        """Remove empty ConfigMaps from the last on: a reader stops at the first that is not there. Say the total.

        A worker that died in the middle of it leaves this to the next round. Nothing is sent where nothing is to do.
        """
        for number in sorted(self._parts, reverse=True):
            part = self._parts[number]
            if part.text.strip():
                break
            try:
                await self._kube.delete(
                    CONFIG_MAPS, part_name(number), KYMA_NAMESPACE, uid=part.uid, version=part.version
                )
            except Conflict:
                break  # something was written into it meanwhile
            del self._parts[number]
        total = str(sum(len(part.text.splitlines()) for part in self._parts.values()))
        if (first := self._parts.get(1)) and first.total != total:
            patch = {"metadata": {"resourceVersion": first.version}, "data": {"total": total}}
            with contextlib.suppress(Conflict):
                written = await self._kube.merge(CONFIG_MAPS, part_name(1), KYMA_NAMESPACE, patch)
                first.version, first.total = written["metadata"]["resourceVersion"], total

    async def _read(self, number: int) -> None:
        found = await self._kube.find(CONFIG_MAPS, part_name(number), KYMA_NAMESPACE)
        self._parts.pop(number, None)
        if found is not None:
            self._parts[number] = _part(found)


def _part(found: Object) -> _Part:
    total = str((found.get("data") or {}).get("total") or "")
    return _Part(found["metadata"]["uid"], found["metadata"]["resourceVersion"], text_of(found), total)


def _entry(line: str) -> Entry | None:
    """None if a person made something else of the line: then it is left as it is."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    texts = [found.get(key, "") for key in ("kind", "uid", "cr", "namespace", "name", "sap_id")]
    protected = found.get("protected")
    if not all(isinstance(text, str) for text in texts) or not isinstance(protected, bool | None):
        return None
    kind, uid, cr, namespace, name, sap_id = texts
    return Entry(uid, cr, KINDS[kind], namespace, name, sap_id, protected) if kind in KINDS else None


def _line(line: str, outcomes: Mapping[Entry, Told]) -> str | None:
    """The line as it has to be now; None if it goes."""
    entry = _entry(line)
    told = outcomes.get(entry) if entry else None
    if told is None:
        return line
    if told.outcome in LEAVES_THE_REPORT:
        return None
    said = f"{told.outcome.value}: {told.why}" if told.why else told.outcome.value
    return json.dumps({**json.loads(line), "reclaim": said}, ensure_ascii=False)
