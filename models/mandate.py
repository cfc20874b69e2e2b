"""For what a run acts: one CR in one cluster, that still asks for it. Whatever writes or deletes holds a mandate.

The workflow id locks a CR, but what the lock protects, the operand, exists once in a cluster. So the mandate is checked
where something is about to be changed: finalizers are removed by hand and CRs made again, two clusters are pointed at
one task queue, and a frozen worker goes on after its work was given to another one.
"""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from models.operators import MAX_UID, Operator, OperatorRef, responsible


class Mandate(BaseModel):
    """The cluster (uid of its Namespace kube-system) and the CR for which a run acts."""

    model_config = ConfigDict(frozen=True)

    cluster: str = Field(max_length=MAX_UID)
    ref: OperatorRef


class FinalizerRemoval(Mandate):
    """The input of the removal of our finalizer."""

    as_spare: bool = False
    """Another CR was responsible when this was decided. If none is by now, the finalizer stays."""


class Mandated(BaseModel):
    """The input of an activity that acts for a CR."""

    mandate: Mandate

    @property
    def ref(self) -> OperatorRef:
        return self.mandate.ref

    @property
    def cluster(self) -> str:
        return self.mandate.cluster


class Purpose(StrEnum):
    """What a CR has to ask for while something is done for it."""

    PROVISION = "provision"
    DELETE = "delete"


def why_lost(ref: OperatorRef, purpose: Purpose, operators: Iterable[Operator]) -> str:
    """Why the CR no longer asks for what is done for it, as a sentence; empty while it does.

    `operators` are all BtpOperators of the cluster.
    """
    there = list(operators)
    me = next((each for each in there if each.ref.uid == ref.uid), None)
    if me is None:
        again = next((each for each in there if (each.ref.namespace, each.ref.name) == (ref.namespace, ref.name)), None)
        return f"BtpOperator {ref} was deleted and created again" if again else f"BtpOperator {ref} is gone"
    if not me.holds_finalizer:
        return f"our finalizer was removed from BtpOperator {ref}"
    if me.deleting != (purpose is Purpose.DELETE):
        return f"BtpOperator {ref} {'is being deleted' if me.deleting else 'is not being deleted'}"
    one = responsible(there)
    if one is not None and one.ref.uid != ref.uid:
        return f"BtpOperator {one.ref} is responsible for the operand"
    return ""
