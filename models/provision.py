"""What goes into and comes out of ProvisionWorkflow and its activities: references and counts, never Secret data."""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel

from models.conditions import Reason
from models.mandate import Mandated
from models.status import Finding


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


class ChartInput(Mandated):
    """For which CR the chart is applied or looked at."""


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


class ReadyInput(Mandated):
    """For which CR, and how long, readiness is waited for."""

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
