"""Which BtpOperator is which, and which of them is responsible for the operand.

The rule of responsibility is one pure function over all CRs of the cluster, so any number of workers come to the
same answer whatever order they see the CRs in.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from models.names import FINALIZER, FORCE_DELETE_LABEL

MAX_UID: Final = 64
"""Characters of a uid; Kubernetes makes UUIDs of 36."""


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
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    force_delete: bool = False
    """Labelled so that its deletion may take service objects along."""
    status: dict[str, Any] | None = None

    @property
    def holds_finalizer(self) -> bool:
        return FINALIZER in self.finalizers

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> "Operator":
        """Read a BtpOperator, or its metadata, as the API server sends it."""
        meta = obj["metadata"]
        status = obj.get("status")
        return cls(
            ref=OperatorRef(namespace=meta["namespace"], name=meta["name"], uid=meta["uid"]),
            created=datetime.fromisoformat(meta["creationTimestamp"]),
            resource_version=meta.get("resourceVersion", ""),
            generation=meta.get("generation", 0),
            finalizers=tuple(meta.get("finalizers") or ()),
            deleting=bool(meta.get("deletionTimestamp")),
            force_delete=(meta.get("labels") or {}).get(FORCE_DELETE_LABEL) == "true",
            status=status if isinstance(status, dict) else None,
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


def _seniority(operator: Operator) -> tuple[bool, datetime, str, str, str]:
    ref = operator.ref
    return (not operator.holds_finalizer, operator.created, ref.namespace, ref.name, ref.uid)
