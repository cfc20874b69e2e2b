"""How long things may take and when the operand goes: settings that travel in the input of workflows."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, Field

SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=30)
"""What a limit may be, in settings and in inputs alike."""
Limit = Annotated[timedelta, Field(ge=SHORTEST, le=LONGEST, json_schema_extra={"minimum": "PT1S", "maximum": "P30D"})]
Span = Annotated[timedelta, Field(ge=timedelta(), le=LONGEST, json_schema_extra={"minimum": "PT0S", "maximum": "P30D"})]
Count = Annotated[int, Field(ge=0, le=10**9)]


class OperandTeardown(StrEnum):
    """When a deprovisioning takes the operand's Deployment and webhooks away."""

    FIRST = "first"
    LAST = "last"
    AUTO = "auto"


class DeletionPolicy(StrEnum):
    """What the deletion of a BtpOperator does while ServiceInstances or ServiceBindings exist."""

    CASCADE = "cascade"
    """They are deleted (the specification)."""
    CONFIRM = "confirm"
    """It waits until they are gone, or a label asks for their deletion (the Go manager's default)."""


class Limits(BaseModel):
    """How long things may take. Carried in the input, so that a replay sees what the run saw."""

    ready_timeout: Limit = timedelta(minutes=5)
    """From the applied chart until everything in it is ready."""
    hard_delete_timeout: Limit = timedelta(minutes=20)
    """For all ServiceBindings and ServiceInstances together, restarts included."""
    last_attempt: Limit = timedelta(minutes=2)
    """For hard delete once more, where nobody could work before its deadline."""
    delete_request_timeout: Limit = timedelta(minutes=5)
    """For the API server to accept the removal of what the chart installed, and for it to be seen gone."""
    reclaim_for: Limit = timedelta(days=7)
    """For deleting in SAP BTP, through Service Manager, what a soft delete abandoned."""


class Bounds(BaseModel):
    """What the worker's settings say about a deletion. An input, which anybody may have written, only adds to it."""

    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO
    deletion: DeletionPolicy = DeletionPolicy.CASCADE

    def bounded(self, asked: Limits) -> Limits:
        """The limits that hold: those asked for, but none shorter than the worker's."""
        own = self.limits
        return Limits(**{name: max(getattr(own, name), getattr(asked, name)) for name in Limits.model_fields})

    def teardown(self, asked: OperandTeardown) -> OperandTeardown:
        """When the operand goes. It goes first, so that nobody can delete, only where the worker's settings say so."""
        return self.operand_teardown if asked is OperandTeardown.FIRST else asked
