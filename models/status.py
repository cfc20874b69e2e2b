"""What is reported to people: a finding on the CR, an Event, the answer to the query `progress`."""

from datetime import datetime

from pydantic import BaseModel, Field

from models.conditions import Reason
from models.deletion_record import DeletionRecord
from models.mandate import Mandated
from models.text import Said


class ProgressReport(BaseModel):
    """The answer to the query `progress`: where a workflow stands."""

    reason: Reason | None = None
    message: str = ""
    budget_ends: datetime | None = None
    """When hard delete gives up, while it runs: a hold counted in whole."""
    held_until: datetime | None = None
    """When a hold of the budget ends by itself."""


class Finding(BaseModel):
    """An answer about the cluster that becomes the CR's condition."""

    reason: Reason
    message: Said = ""


class StatusInput(Mandated):
    """A finding to be written to the CR's status, and, in a deletion, what it has decided."""

    finding: Finding
    deletion: DeletionRecord | None = None


class EventInput(Mandated):
    """An Event to be recorded on the CR."""

    reason: str = Field(max_length=128)
    """In CamelCase; Kubernetes takes 128 characters (validation of events.k8s.io/v1)."""
    message: Said
    warning: bool = False
