"""What goes into and comes out of DeprovisionWorkflow and its activities: references and counts, never manifests."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from models.names import OPERAND_DEPLOYMENT
from models.operators import OperatorRef

MAX_NAMED: Final = 100
"""Abandoned objects named in a workflow's result; the totals count all, and the ConfigMap names the rest."""


class DeletionMode(StrEnum):
    """By which path the service objects went."""

    NONE = "none"
    HARD = "hard"
    SOFT = "soft"


class ReleaseKind(StrEnum):
    """What a CR that is being deleted asks for."""

    GONE = "gone"
    ALIVE = "alive"
    LET_GO = "let go"
    """Not responsible: only the CR goes, the operand stays."""
    DEPROVISION = "deprovision"


class Removed(BaseModel):
    """How many objects a step removed."""

    bindings: int = 0
    instances: int = 0
    secrets: int = 0
    resources: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(**{field: getattr(self, field) + getattr(other, field) for field in Removed.model_fields})

    def at_least(self, other: "Removed") -> "Removed":
        return Removed(**{field: max(getattr(self, field), getattr(other, field)) for field in Removed.model_fields})


class HardDeleted(Removed):
    """What hard delete removed, and what the operand is done with although it still stands."""

    kept: list[str] = []
    """A few of the objects that only finalizers of others keep, each with these finalizers."""


class TeardownInput(BaseModel):
    """For which CR the operand is torn down."""

    ref: OperatorRef
    because: str = ""
    """Why service objects are let go; it is written into the report of what was abandoned."""


class HardDeleteInput(BaseModel):
    """Hard delete of all service objects, within a deadline that Temporal keeps."""

    ref: OperatorRef
    attempt: timedelta = timedelta(minutes=1)
    """How long one attempt watches before it reports what is left and is tried again."""


class Remaining(BaseModel):
    """Service objects that are still there."""

    bindings: int = 0
    instances: int = 0
    some: list[str] = []
    """A few of them by name, for people."""
    operand_lost: bool = False
    operand_trouble: str = ""
    """Why nothing may happen: the operand's Deployment is not there, or not available."""

    @property
    def none(self) -> bool:
        return not self.bindings and not self.instances

    def __str__(self) -> str:
        if self.none:
            return "no service objects left"
        left = f"{self.bindings} ServiceBindings and {self.instances} ServiceInstances left"
        names = f": {', '.join(self.some)}" if self.some else ""
        return f"{left}{names}" + (
            f"; Deployment {OPERAND_DEPLOYMENT} {self.operand_trouble}" if self.operand_trouble else ""
        )


class AbandonedObject(BaseModel):
    """A service object whose finalizer was taken off: in SAP BTP it may live on, and be paid for."""

    kind: str
    namespace: str
    name: str
    sap_id: str = ""
    broker_message: str = ""
    kept_by: list[str] = Field(default_factory=list)
    """Finalizers of others, which were left alone and still hold the object."""


class SoftDeleteResult(BaseModel):
    """What a soft delete removed and what it abandoned in SAP BTP."""

    removed: Removed = Removed()
    abandoned_total: int = 0
    """Of this CR's whole deletion, whichever attempt let them go."""
    abandoned: list[AbandonedObject] = []
    """The first `MAX_NAMED`; ConfigMap kyma-system/sap-btp-abandoned lists more."""


class DeprovisionResult(BaseModel):
    """The end of a DeprovisionWorkflow."""

    outcome: ReleaseKind
    mode: DeletionMode = DeletionMode.NONE
    hard_delete_ended: str = ""
    """Why hard delete gave up, in soft mode."""
    skipped_by: str = ""
    """Who asked for soft delete before the budget was over."""
    removed: Removed = Removed()
    abandoned_total: int = 0
    abandoned: list[AbandonedObject] = []
    began: datetime | None = None
    seconds: float = 0.0
