"""What goes into and comes out of ResyncWorkflow."""

from pydantic import BaseModel

from models.limits import Limits, OperandTeardown


class ResyncInput(BaseModel):
    """What every CR's workflow is started with by a resync."""

    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO


class ResyncResult(BaseModel):
    """How many CRs a resync nudged."""

    nudged: int
