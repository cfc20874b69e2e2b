"""What the trigger keeps of each object, and which changes of it are worth a look. Pure.

Our own writes must not wake us, and neither must what others do to fields that are not ours. The API server keeps
book of who set which field (metadata.managedFields, KEP-555). Whoever changes or removes a field of ours takes it out
of our entry; our own apply moves our entry's time. So a smaller entry with the same time is somebody else's doing.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from kube.answers import ReadObject
from models.conditions import Reason, State, ready_condition
from models.names import ABANDONED_COUNT_ANNOTATION, FIELD_MANAGER, RECLAIM_PENDING_ANNOTATION
from models.operators import Operator
from models.text import plain

LONGEST: Final = 1_000
"""Characters that are kept of a condition's message."""


@dataclass(frozen=True, slots=True)
class OperatorDigest:
    """A BtpOperator as far as it concerns anybody. Its status, which only we write, is kept for metrics alone."""

    operator: Operator = field(compare=False)
    state: str = field(compare=False)
    reason: str = field(compare=False)
    waits_for: str = field(compare=False)
    """What a spare says about the CR that is responsible; empty for any other."""
    uid: str
    generation: int
    deleting: bool
    metadata: str
    claimed: bool
    """Whether it holds our finalizer."""

    @classmethod
    def of(cls, obj: ReadObject) -> "OperatorDigest":
        operator, meta = Operator.from_object(obj), obj["metadata"]
        state = _known((operator.status or {}).get("state"), State)
        condition = ready_condition(operator.status)
        reason = _known(condition.get("reason"), Reason)
        waits_for = plain(condition.get("message"), LONGEST) if reason == Reason.OLDER_CR_EXISTS else ""
        # What no decision needs here is not kept.
        operator = operator.model_copy(update={"status": None, "deletion": None, "held_by": ()})
        metadata = _hash([meta.get("labels"), meta.get("annotations")])
        uid, generation, deleting = operator.ref.uid, operator.generation, operator.deleting
        return cls(
            operator, state, reason, waits_for, uid, generation, deleting, metadata, claimed=operator.holds_finalizer
        )

    def is_only_claimed_after(self, before: "OperatorDigest") -> bool:
        """Whether nothing happened but that we put our finalizer on it."""
        return self == replace(before, claimed=True)


@dataclass(frozen=True, slots=True)
class PresenceDigest:
    """An object of which any change counts: it is not ours to write."""

    version: str
    deleting: bool

    @classmethod
    def of(cls, obj: ReadObject) -> "PresenceDigest":
        meta = obj["metadata"]
        return cls(meta["resourceVersion"], bool(meta.get("deletionTimestamp")))


@dataclass(frozen=True, slots=True)
class ReportDigest:
    """A ConfigMap that names abandoned objects: how many, and how many of them reclaim tries again."""

    objects: int
    pending: int

    @classmethod
    def of(cls, obj: ReadObject) -> "ReportDigest":
        # Somebody may have edited it; a report that is there names at least one object.
        notes = obj["metadata"].get("annotations") or {}
        return cls(_number(notes.get(ABANDONED_COUNT_ANNOTATION), 1), _number(notes.get(RECLAIM_PENDING_ANNOTATION), 0))


@dataclass(frozen=True, slots=True)
class ChartDigest:
    """An object of the chart: which fields are ours, since when, and whether a Deployment is available."""

    fields: str
    since: str
    deleting: bool
    available: str

    @classmethod
    def of(cls, obj: ReadObject) -> "ChartDigest":
        meta = obj["metadata"]
        ours = [
            entry
            for entry in meta.get("managedFields") or []
            if entry.get("manager") == FIELD_MANAGER and not entry.get("subresource")
        ]
        conditions = (obj.get("status") or {}).get("conditions") or []
        return cls(
            fields=_hash([entry.get("fieldsV1") for entry in ours]) if ours else "",
            since=max((entry.get("time", "") for entry in ours), default=""),
            deleting=bool(meta.get("deletionTimestamp")),
            available=next((c["status"] for c in conditions if c.get("type") == "Available"), ""),
        )

    def is_news_after(self, before: "ChartDigest | None") -> bool:
        """Whether somebody should look: our fields were touched, or the object goes, or availability changed."""
        if before is None:
            return False  # made by us, or found when the trigger started, and then every CR is looked at anyway
        touched = self.fields != before.fields and self.since == before.since
        lost = bool(before.fields) and not self.fields
        flipped = bool(before.available) and self.available != before.available
        return touched or lost or flipped or (self.deleting and not before.deleting)


def _number(text: object, otherwise: int) -> int:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10 else otherwise


def _known(word: object, words: type[StrEnum]) -> str:
    """One of our own words, or `Unknown`: what others write into a status becomes no label of a metric."""
    return str(word) if word in set(words) else "Unknown"


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
