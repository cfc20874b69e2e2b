"""What goes into and comes out of ProvisionWorkflow and its activities: references and counts, never Secret data."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, Field

from models.conditions import Reason
from models.limits import Limit, Span
from models.mandate import Mandated
from models.status import Finding
from models.text import Said


class Standing(StrEnum):
    """How a CR stands among all BtpOperators of the cluster."""

    GONE = "gone"
    DELETING = "deleting"
    SPARE = "spare"
    RESPONSIBLE = "responsible"


class Assessment(BaseModel):
    """One look at a CR, all others and its prerequisites."""

    standing: Standing
    finding: Finding | None = None
    """Why provisioning cannot begin, if it cannot."""
    claimed: bool = False
    """Our finalizer is on the CR."""
    reason: Reason | None = None
    """The reason that the CR's condition gives now."""
    ready_timeout: Limit | None = None
    """What the worker's settings say, whatever the workflow's input asks for; None where they say nothing."""


class ChartInput(Mandated):
    """For which CR the chart is applied or looked at."""


MAX_TEXT: Final = 500
"""Characters of a name, a path or a manager's name."""


class Contest(BaseModel):
    """A field of ours that somebody changed soon after we had applied it."""

    object: str = Field(max_length=MAX_TEXT)
    field: str = Field(max_length=MAX_TEXT)
    """Empty where the whole object was deleted."""
    manager: str = Field("", max_length=MAX_TEXT)
    """The field manager that changed it (metadata.managedFields); empty if nobody can be named."""
    rounds: int = Field(1, ge=1, le=10**9)
    """How often in a row."""
    within: Span = timedelta()
    """How soon after our apply it was changed, the last time."""

    def __str__(self) -> str:
        if not self.field:
            return f"{self.object} is deleted again whenever it is applied"
        who = f"field manager {self.manager!r}" if self.manager else "somebody"
        return f"{self.object}: {self.field} is changed back by {who} whenever it is applied"


PAUSES: Final = (0, 0, 2, 10, 20, 40, 60)
"""Seconds before the next write, by rounds of a contest."""
NAMED_FROM: Final = 3
"""Rounds after which a contest is no accident: it becomes the CR's condition."""
CHANCE: Final = timedelta(seconds=15)
QUIET: Final = timedelta(minutes=1)
"""How long fields have to be left alone, at least, until a contest counts as over: after one round, and after more."""
LONGEST_QUIET: Final = timedelta(minutes=24)
"""The same, at most: a run remembers whoever comes every ten minutes for two rounds."""
MOST_CONTESTS: Final = 20


class Rivalry(BaseModel):
    """The contests of a run, with how often each was fought. Text of others, hence bounded."""

    contests: list[Contest] = Field(default_factory=list, max_length=MOST_CONTESTS)
    over_at: AwareDatetime | None = None
    """When it counts as over if nothing is changed back until then."""

    def after(self, seen: list[Contest], now: datetime) -> "Rivalry":
        """What is known after one more look at what somebody changed back."""
        if not seen:
            return Rivalry() if self.over_at and now >= self.over_at else self
        known = {(contest.object, contest.field): contest for contest in self.contests}
        for contest in seen:
            before = known.pop((contest.object, contest.field), None)
            rounds = before.rounds + 1 if before else 1
            known[contest.object, contest.field] = contest.model_copy(update={"rounds": rounds})
        contests = list(known.values())[-MOST_CONTESTS:]
        repeated = [contest for contest in contests if contest.rounds > 1]
        # Whoever took five minutes is waited for as long, and once more: a run that ends forgets how often it was.
        slowest = max(contest.within for contest in repeated or contests)
        quiet = max(QUIET if repeated else CHANCE, 2 * min(slowest, LONGEST_QUIET / 2))
        return Rivalry(contests=contests, over_at=now + quiet)

    @property
    def pause(self) -> timedelta:
        """How long the next write has to wait."""
        rounds = max((contest.rounds for contest in self.contests), default=0)
        return timedelta(seconds=PAUSES[min(rounds, len(PAUSES) - 1)])

    @property
    def named(self) -> str:
        """What is told on the CR; empty while it may be chance."""
        return "; ".join(str(contest) for contest in self.contests if contest.rounds >= NAMED_FROM)


class Applied(BaseModel):
    """What applying the chart did."""

    written: list[str] = []
    """Kind and name of every object that differed and was sent."""
    pruned: list[str] = []
    """Kind and name of every object that the chart no longer renders and that was removed."""
    unchanged: int = 0
    contested: list[Contest] = []
    """Which of what was written somebody had changed soon after the last time."""


class Survey(BaseModel):
    """What an installed chart looks like, without touching it."""

    drifted: list[str] = []
    unready: list[str] = []


class ReadyInput(Mandated):
    """For which CR, and how long, readiness is waited for."""

    timeout: Limit
    told: Said | None = None
    """What the CR says already that keeps pods from becoming ready; None: it is not told before the deadline."""


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
