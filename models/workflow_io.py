"""What goes into workflows and activities and what comes out: references and counts, never manifests or Secret data.

Fields only ever get added, with defaults, so that recorded histories still load.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from models.conditions import Reason
from models.names import OPERAND_DEPLOYMENT
from models.operators import OperatorRef

MAX_NAMED: Final = 100
"""Abandoned objects named in a workflow's result; the totals count all, and the ConfigMap names the rest."""


class OperandTeardown(StrEnum):
    """When a deprovisioning takes the operand's Deployment and webhooks away."""

    FIRST = "first"
    LAST = "last"
    AUTO = "auto"


class Limits(BaseModel):
    """How long things may take. Carried in the input, so that a replay sees what the run saw."""

    ready_timeout: timedelta = timedelta(minutes=5)
    """From the applied chart until everything in it is ready."""
    hard_delete_timeout: timedelta = timedelta(minutes=20)
    """For all ServiceBindings and ServiceInstances together, restarts included."""
    delete_request_timeout: timedelta = timedelta(minutes=5)
    """For the API server to accept the removal of what the chart installed, and for it to be seen gone."""


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


class SoFar(BaseModel):
    """What one run hands to the next when its history has grown long. Deadlines stay where they are."""

    began: datetime | None = None
    ready_by: datetime | None = None
    hard_delete_ends: datetime | None = None
    removed: Removed = Removed()
    found: Removed = Removed()
    """The service objects that stood there at the beginning."""


class OperatorInput(BaseModel):
    """The input of ProvisionWorkflow and DeprovisionWorkflow: one may go on as the other."""

    ref: OperatorRef
    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO
    so_far: SoFar = SoFar()


class ProgressReport(BaseModel):
    """The answer to the query `progress`: where a workflow stands."""

    reason: Reason | None = None
    message: str = ""
    budget_ends: datetime | None = None
    """When hard delete gives up, while it runs."""


class Finding(BaseModel):
    """An answer about the cluster that becomes the CR's condition."""

    reason: Reason
    message: str = ""


class Standing(StrEnum):
    """How a CR stands among all BtpOperators of the cluster."""

    GONE = "gone"
    DELETING = "deleting"
    SPARE = "spare"
    RESPONSIBLE = "responsible"


class Assessment(BaseModel):
    """One look at a CR, its rivals and its prerequisites."""

    standing: Standing
    finding: Finding | None = None
    """Why provisioning cannot begin, if it cannot."""
    claimed: bool = False
    """Our finalizer is on the CR."""
    reason: Reason | None = None
    """The reason that the CR's condition gives now."""


class StatusInput(BaseModel):
    """A finding to be written to the CR's status."""

    ref: OperatorRef
    finding: Finding


class WarningInput(BaseModel):
    """An Event to be recorded on the CR."""

    ref: OperatorRef
    reason: str
    message: str


class ChartInput(BaseModel):
    """For which CR the chart is applied or looked at."""

    ref: OperatorRef


class Applied(BaseModel):
    """What applying the chart did."""

    chart_version: str
    written: list[str] = []
    """Kind and name of every object that differed and was sent."""
    pruned: list[str] = []
    """Kind and name of every object that the chart no longer renders and that was removed."""
    unchanged: int = 0


class Survey(BaseModel):
    """What an installed chart looks like, without touching it."""

    drifted: list[str] = []
    unready: list[str] = []


class ReadyInput(BaseModel):
    """For which CR, and how long, readiness is waited for."""

    ref: OperatorRef
    timeout: timedelta


class ProvisionOutcome(StrEnum):
    """How a ProvisionWorkflow ended."""

    READY = "ready"
    NOT_READY = "not ready"
    SPARE = "spare"
    GONE = "gone"


class ProvisionResult(BaseModel):
    """The end of a ProvisionWorkflow."""

    outcome: ProvisionOutcome
    reason: Reason | None = None
    message: str = ""
    passes: int = 1
    written: int = 0


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


class ResyncInput(BaseModel):
    """What every CR's workflow is started with by a resync."""

    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO


class ResyncResult(BaseModel):
    """How many CRs a resync nudged."""

    nudged: int
