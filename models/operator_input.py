"""The input that both workflows of a CR share: one may go on as the other."""

from pydantic import AwareDatetime, BaseModel

from models.deprovision import Removed
from models.limits import DeletionPolicy, Limits, OperandTeardown
from models.mandate import Mandated
from models.provision import Rivalry


class SoFar(BaseModel):
    """What one run hands to the next when its history has grown long. Deadlines stay where they are."""

    began: AwareDatetime | None = None
    ready_by: AwareDatetime | None = None
    rivalry: Rivalry = Rivalry()
    removed: Removed = Removed()
    found: Removed = Removed()
    """The service objects that stood there at the beginning."""


class OperatorInput(Mandated):
    """The input of ProvisionWorkflow and DeprovisionWorkflow: one may go on as the other."""

    limits: Limits = Limits()
    operand_teardown: OperandTeardown = OperandTeardown.AUTO
    deletion: DeletionPolicy = DeletionPolicy.CASCADE
    so_far: SoFar = SoFar()
