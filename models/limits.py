"""How long things may take and when the operand goes: settings that travel in the input of workflows."""

from datetime import timedelta
from enum import StrEnum

from pydantic import BaseModel


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

    ready_timeout: timedelta = timedelta(minutes=5)
    """From the applied chart until everything in it is ready."""
    hard_delete_timeout: timedelta = timedelta(minutes=20)
    """For all ServiceBindings and ServiceInstances together, restarts included."""
    last_attempt: timedelta = timedelta(minutes=2)
    """For hard delete once more, where nobody could work before its deadline."""
    delete_request_timeout: timedelta = timedelta(minutes=5)
    """For the API server to accept the removal of what the chart installed, and for it to be seen gone."""
    reclaim_for: timedelta = timedelta(days=7)
    """For deleting in SAP BTP, through Service Manager, what a soft delete abandoned."""
