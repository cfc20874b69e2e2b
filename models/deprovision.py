"""What goes into and comes out of DeprovisionWorkflow and its activities: references and counts, never manifests."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from models.deletion_record import DeletionRecord
from models.limits import Bounds, Count, Limit
from models.mandate import Mandated
from models.names import OPERAND_DEPLOYMENT
from models.text import Said

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
    MANDATE_LOST = "mandate lost"
    """The CR no longer asked for it while it was being done."""


class DeletionAssessment(BaseModel):
    """What a CR that is being deleted asks for, and what earlier runs have decided."""

    kind: ReleaseKind
    record: DeletionRecord | None = None
    confirmed: bool = False
    """The CR's label asks to take service objects along."""
    refused: bool = False
    """The CR says that its deletion was refused: by the Go manager, or by an earlier run."""
    aside: str = ""
    """Why nothing may be done: another manager runs."""
    bounds: Bounds | None = None
    """What the worker's settings say, which the workflow's input may not undercut; None of a worker before these."""


class ConfirmationInput(Mandated):
    """For which CR a confirmation is waited for, and what the CR says of the service objects now."""

    bindings: Count = 0
    instances: Count = 0


class Removed(BaseModel):
    """How many objects a step removed."""

    bindings: Count = 0
    instances: Count = 0
    secrets: Count = 0
    resources: Count = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(**{field: getattr(self, field) + getattr(other, field) for field in Removed.model_fields})

    def at_least(self, other: "Removed") -> "Removed":
        return Removed(**{field: max(getattr(self, field), getattr(other, field)) for field in Removed.model_fields})


class HardDeleted(Removed):
    """What hard delete removed, and what the operand has released although it still exists."""

    kept: list[str] = []
    """A few of the objects that only finalizers of others keep, each with these finalizers."""
    is_done: bool = True
    """False: the attempt ended to report `obstacles`, and the next one goes on."""
    obstacles: dict[str, str] = Field(default_factory=dict)
    """A few of the refusals, by what is in the way."""


class TeardownInput(Mandated):
    """For which CR the operand is torn down."""

    because: Said = ""
    """Why service objects are let go; it is written into the report of what was abandoned."""
    told: Said = ""
    """What the CR says already that is waited for: another wait ends the attempt, to be reported too."""
    removed: Removed = Field(default_factory=Removed)
    """What earlier attempts removed, which ended to be reported."""
    may_let_go: bool = True
    """Whether soft delete may be asked once more: what it could not let go the first time, it cannot the second."""


class HardDeleteInput(Mandated):
    """Hard delete of all service objects, within a deadline that Temporal keeps."""

    attempt: Limit = timedelta(minutes=1)
    """How long one attempt watches before it reports what is left and is tried again."""
    reported: dict[Said, Said] = Field(default_factory=dict, max_length=MAX_NAMED)
    """The obstacles that the CR names already, by what is in the way: others end the attempt, to be reported too."""
    answer_every: Limit = timedelta(minutes=1)
    """How long the API server may say nothing before the attempt asks it something: a real try hears answers."""


def counted(number: int, kind: str) -> str:
    """`1 ServiceBinding`, `2 ServiceBindings`."""
    return f"{number} {kind}{'' if number == 1 else 's'}"


class Remaining(BaseModel):
    """Service objects that are still there."""

    bindings: int = 0
    instances: int = 0
    some: list[str] = []
    """A few of them by name, for people."""
    operand_lost: bool = False
    unknown: str = ""
    """Why nobody could count them."""
    operand_trouble: str = ""
    """Why nothing may happen: the operand's Deployment is not there, or not available."""

    @property
    def none(self) -> bool:
        return not self.bindings and not self.instances and not self.unknown

    def __str__(self) -> str:
        if self.unknown:
            return f"the service objects cannot be counted: {self.unknown}"
        if self.none:
            return "no service objects left"
        left = f"{counted(self.bindings, 'ServiceBinding')} and {counted(self.instances, 'ServiceInstance')} left"
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
    """The id in SAP Service Manager; empty if the operand never learned it."""
    broker_message: str = ""
    kept_by: list[str] = Field(default_factory=list)
    """Finalizers of others, which were left alone and still hold the object."""
    protected: bool | None = None
    """Whether its owner had annotated it with preventDeletion; None in reports of versions that did not say."""


class TornDown(Removed):
    """What a step of the removal removed, and what it passed over."""

    passed_over: list[str] = []
    """Such as a pod whose node is dead."""


class SoftDeleteResult(BaseModel):
    """What a soft delete removed and what it abandoned in SAP BTP."""

    removed: Removed = Removed()
    abandoned_total: int = 0
    """Of this CR's whole deletion, whichever attempt let them go."""
    abandoned: list[AbandonedObject] = []
    """The first `MAX_NAMED`; ConfigMap kyma-system/sap-btp-abandoned lists more."""
    kept: list[str] = []
    """A few of the objects that could not be let go, with the reason: they are not abandoned."""
    not_listed: str = Field("", max_length=2_000)
    """Why ConfigMap kyma-system/sap-btp-abandoned does not list them; Events in namespace default do."""


class DeprovisionResult(BaseModel):
    """The end of a DeprovisionWorkflow."""

    outcome: ReleaseKind
    mode: DeletionMode = DeletionMode.NONE
    hard_delete_ended: str = ""
    """Why hard delete gave up, in soft mode."""
    skipped_by: str = ""
    """Who asked for soft delete before the budget was over."""
    asked: list[str] = []
    """What people asked of the budget: the latest extensions and holds, with names and reasons."""
    lost_because: str = ""
    """Why the CR no longer asked for the deletion, which ended there."""
    passed_over: list[str] = []
    """What could not be seen gone for a reason outside of this manager, and did not keep the CR."""
    removed: Removed = Removed()
    abandoned_total: int = 0
    abandoned: list[AbandonedObject] = []
    began: datetime | None = None
    seconds: float = 0.0
