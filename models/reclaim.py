"""What goes into and comes out of ReclaimWorkflow: counts and names. Neither credentials nor the cluster's id."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, Field

from models.limits import Count, Limit, Span
from models.operators import MAX_UID, OperatorRef
from models.text import Said

MAX_TOLD: Final = 100
"""Objects told by name in a result; the ConfigMap names all that are left, each with the reason."""


class Outcome(StrEnum):
    """What became of an abandoned object in one round."""

    RECLAIMED = "reclaimed"
    """Service Manager has deleted it."""
    ABSENT = "absent"
    """Service Manager does not have it, or not any more."""
    IN_USE = "in use"
    """A living object of the cluster has its id, or its namespace and name: it is not abandoned any more."""
    PROTECTED = "protected"
    """Its owner said preventDeletion, or nobody wrote down whether they did."""
    NOT_OURS = "not ours"
    """The report says one thing and Service Manager another, so nobody touches it."""
    REFUSED = "refused"
    """Service Manager will not delete it now."""
    UNDER_WAY = "under way"
    """Service Manager has accepted the deletion."""
    WAITING = "waiting"
    """Something else has to happen first: a binding has to go, or Service Manager or the cluster to answer."""
    WOULD_GO = "would go"
    """Only shown: nothing stands against deleting it."""


LEAVES_THE_REPORT: Final = frozenset({Outcome.RECLAIMED, Outcome.ABSENT, Outcome.IN_USE})
FOR_A_PERSON: Final = frozenset({Outcome.PROTECTED, Outcome.NOT_OURS})
"""Stays in the report, and no further try changes it."""

TRIED_AGAIN: Final = frozenset({Outcome.REFUSED, Outcome.UNDER_WAY, Outcome.WAITING})
"""Stays in the report until a later round is luckier, or reclaim gives up."""


class Scope(BaseModel):
    """What is to be reclaimed."""

    cluster: str = Field(max_length=MAX_UID)
    """Uid of the cluster's Namespace kube-system."""
    ref: OperatorRef | None = None
    """The CR whose deletion abandoned it; None: all that is reported, which only a person may want."""
    cluster_digest: str = Field("", max_length=64)
    """Of the cluster's id in SAP BTP as the operand knew it, so that the id itself stays out of histories. Empty: what
    Secret sap-btp-manager says."""
    only_show: bool = False
    """Say what would go, and touch nothing."""


class ReclaimConsent(BaseModel):
    """Whether what a deletion abandons may be reclaimed, and of which cluster in SAP BTP it is."""

    given: bool
    cluster_digest: str = ""


class ReclaimInput(Scope):
    """The input of ReclaimWorkflow."""

    reclaim_for: Limit = timedelta(days=7)
    """Then it gives up; what is left stays in the report."""
    so_far: "ReclaimSoFar | None" = None


class RoundInput(Scope):
    """The input of one round."""

    proven: bool = False
    """An earlier round has seen that Service Manager knows this cluster."""
    at_most: Limit = timedelta(minutes=4)
    """How long it goes on; another one begins where it ended."""


class ReclaimSoFar(BaseModel):
    """What one run hands to the next when its history has grown long."""

    ends: AwareDatetime
    pause: Span
    counts: dict[Outcome, Count] = {}
    proven: bool = False


class Told(BaseModel):
    """One object, what became of it and why: for people."""

    kind: str
    namespace: str
    name: str
    sap_id: str = ""
    outcome: Outcome
    why: str = ""


class Round(BaseModel):
    """One round through the report."""

    counts: dict[Outcome, int] = {}
    told: list[Told] = []
    """Those that are left, at most MAX_TOLD."""
    trouble: str = ""
    """Why nothing could be done at all, such as a missing Secret."""
    unfinished: bool = False
    """Its time was over before the report's end."""
    proven: bool = False
    """Service Manager knows this cluster, so what it does not have is gone."""
    retry_after: float | None = None
    """Seconds for which Service Manager asked to be left alone."""

    def of(self, outcomes: frozenset[Outcome]) -> int:
        return sum(self.counts.get(outcome, 0) for outcome in outcomes)

    @property
    def to_try_again(self) -> int:
        """How many another round may still change."""
        return sum(self.counts.values()) - self.of(LEAVES_THE_REPORT) - self.of(FOR_A_PERSON)


class ReclaimResult(BaseModel):
    """The end of a ReclaimWorkflow."""

    ended: str
    """Why, as a sentence."""
    trouble: str = ""
    """Why nothing could be done at all."""
    reclaimed: int = 0
    """With those that Service Manager did not have any more."""
    in_use: int = 0
    left: int = 0
    told: list[Told] = Field(default_factory=list)
    """What is left, or would go, at most MAX_TOLD; ConfigMap kyma-system/sap-btp-abandoned names all."""


class ReclaimEnd(BaseModel):
    """What an Event says when a reclaim ends."""

    cluster: str = Field(max_length=MAX_UID)
    message: Said
    left: Count


class ReclaimProgress(BaseModel):
    """The answer to the query `progress`."""

    message: str = ""
    ends: datetime | None = None
    """When it gives up."""
    next_round: datetime | None = None


def digest_of(cluster_id: str) -> str:
    """What stands for a cluster's id where the id itself must not be seen."""
    return hashlib.sha256(f"cluster id {cluster_id}".encode()).hexdigest()[:32]
