"""What goes into and comes out of ResyncWorkflow."""

from pydantic import BaseModel, Field

from models.limits import DeletionPolicy, Limits, OperandTeardown
from models.operators import MAX_UID


class ResyncInput(BaseModel):
    """What every CR's workflow is started with by a resync."""

    cluster: str = Field(max_length=MAX_UID)
    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO
    deletion: DeletionPolicy = DeletionPolicy.CASCADE


class ResyncResult(BaseModel):
    """How many CRs a resync nudged."""

    nudged: int
