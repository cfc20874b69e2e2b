"""Which BtpOperator is which, and which of them is responsible for the operand.

The rule of responsibility is one pure function over all CRs of the cluster, so any number of workers come to the
same answer whatever order they see the CRs in. All of them are kept at once, so of each only what decisions need, and
of that no more than so much: finalizers, annotations and statuses may be as large as etcd takes.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.conditions import CONDITION_TYPE, MAX_MESSAGE, ready_condition
from models.deletion_record import DeletionRecord
from models.names import FINALIZER, FORCE_DELETE_LABEL
from models.text import some

MAX_UID: Final = 64
"""Characters of a uid; Kubernetes makes UUIDs of 36."""
MAX_WORD: Final = 64
"""Characters kept of a state, a reason or a time that somebody else may have written; ours are shorter."""


class OperatorRef(BaseModel):
    """One BtpOperator for its whole life: a CR made again under the same name has another uid."""

    model_config = ConfigDict(frozen=True)

    namespace: str = Field(max_length=63)
    name: str = Field(max_length=253)
    uid: str = Field(max_length=MAX_UID)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Operator(BaseModel):
    """What decisions need of a BtpOperator; everything else of it is left alone."""

    model_config = ConfigDict(frozen=True)

    ref: OperatorRef
    created: datetime
    resource_version: str = ""
    generation: int = 0
    finalizers: int = 0
    """How many it carries."""
    holds_finalizer: bool = False
    """Whether ours is among them."""
    held_by: tuple[str, ...] = ()
    """A few of them, shortened, for people."""
    deleting: bool = False
    force_delete: bool = False
    """Labelled so that its deletion may take service objects along."""
    status: dict[str, Any] | None = None
    """The state and the condition `Ready`, each of bounded length."""
    deletion: DeletionRecord | None = None
    """What its deletion has decided; None if that is not there or cannot be read."""

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> "Operator":
        """Read a BtpOperator, or its metadata, as the API server sends it."""
        meta = obj["metadata"]
        status, finalizers = obj.get("status"), meta.get("finalizers") or []
        return cls(
            ref=OperatorRef(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
            created=datetime.fromisoformat(meta["creationTimestamp"]),
            resource_version=meta.get("resourceVersion", ""),
            generation=meta.get("generation", 0),
            finalizers=len(finalizers),
            holds_finalizer=FINALIZER in finalizers,
            held_by=tuple(some(finalizers)),
            deleting=bool(meta.get("deletionTimestamp")),
            force_delete=(meta.get("labels") or {}).get(FORCE_DELETE_LABEL) == "true",
            status=_kept(status) if isinstance(status, dict) else None,
            deletion=_deletion(status) if isinstance(status, dict) else None,
        )


def responsible(operators: Iterable[Operator]) -> Operator | None:
    """The CR that holds our finalizer, of several the oldest; if none does, the oldest, then by namespace and name.

    Who holds the finalizer was responsible already: a stray that is older, but was never responsible, takes over
    nothing. A CR that is being deleted still counts: its successor takes over only when it is gone.
    """
    return min(operators, key=_seniority, default=None)


def contenders(operator: Operator, operators: Iterable[Operator]) -> list[Operator]:
    """CRs of the same second without our finalizer: the only ones that could claim the operand at the same moment."""
    return [
        other
        for other in operators
        if other.created == operator.created and other.ref.uid != operator.ref.uid and not other.holds_finalizer
    ]


def _kept(status: Mapping[str, Any]) -> dict[str, Any]:
    condition = ready_condition(status)
    kept = {key: _word(condition[key]) for key in ("status", "reason", "lastTransitionTime") if key in condition}
    if "observedGeneration" in condition:
        kept["observedGeneration"] = condition["observedGeneration"]
    if "message" in condition:
        kept["message"] = str(condition["message"])[: MAX_MESSAGE + 1]  # one that is too long is none of ours
    return {
        "state": _word(status.get("state") or ""),
        "conditions": [{"type": CONDITION_TYPE, **kept}] if condition else [],
    }


def _word(text: object) -> str:
    return str(text)[:MAX_WORD]


def _deletion(status: Mapping[str, Any]) -> DeletionRecord | None:
    try:
        return DeletionRecord.model_validate(status["deletion"])
    except (KeyError, ValidationError):
        return None


def _seniority(operator: Operator) -> tuple[bool, datetime, str, str, str]:
    ref = operator.ref
    return (not operator.holds_finalizer, operator.created, ref.namespace, ref.name, ref.uid)
