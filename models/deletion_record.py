"""What a deletion has decided, and what people asked of it: pure rules, with the clock as an argument.

A person may give a waiting deletion more time, but not without end: a day of extensions and a day of holds. A hold
moves the deadline at once by all that is left of that day, and resuming takes back the rest: so the deadline on the CR
is always the latest, and nobody has to be there when a hold ends by itself.
"""

from datetime import datetime, timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictStr
from pydantic.alias_generators import to_camel

from models.durations import show_duration
from models.text import plain

MOST_MINUTES: Final = 24 * 60
"""By which a deletion may be extended in all."""
LONGEST_HOLD: Final = timedelta(hours=24)
"""For all holds of a deletion together."""
MOST_RECORDED: Final = 20
"""Extensions, and holds, that the CR names."""
MOST_SHOWN: Final = 3
"""Of these, in a message for people."""
LONGEST_BECAUSE: Final = 4_000


def _who(text: str) -> str:
    return _cleaned(text, "say who asks: the report names them")


def _why(text: str) -> str:
    return _cleaned(text, "say why: the report gives the reason")


def _cleaned(text: str, if_empty: str) -> str:
    if not (cleaned := plain(text, len(text))):
        raise ValueError(if_empty)
    return cleaned


Who = Annotated[StrictStr, Field(max_length=200), AfterValidator(_who)]
"""The name that somebody gives: a claim, which nobody checks."""
Why = Annotated[StrictStr, Field(max_length=500), AfterValidator(_why)]


class ExtendRequest(BaseModel):
    """The input of the update `extend`: more time for hard delete."""

    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)]
    by: Who
    why: Why


class HoldRequest(BaseModel):
    """The input of the update `hold`: the budget stands still, and the deletion goes on."""

    by: Who
    why: Why


class ResumeRequest(BaseModel):
    """The input of the update `resume`: the budget goes on."""

    by: Who


Request = ExtendRequest | HoldRequest | ResumeRequest


class _OnTheCR(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Extension(_OnTheCR):
    """More time that a person gave."""

    at: AwareDatetime
    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)]
    by: Who
    why: Why

    def __str__(self) -> str:
        return f"{self.by} extended it by {_minutes(self.minutes)} at {_moment(self.at)} ({self.why})"


class Hold(_OnTheCR):
    """A time in which the budget stands still."""

    since: AwareDatetime
    ends: AwareDatetime
    """By itself, unless somebody resumes before."""
    by: Who
    why: Why
    resumed_by: str = Field("", max_length=200)

    def __str__(self) -> str:
        end = f", resumed by {self.resumed_by}" if self.resumed_by else ""
        return f"{self.by} held it from {_moment(self.since)} to {_moment(self.ends)} ({self.why}){end}"


class DeletionRecord(_OnTheCR):
    """What a deletion has decided. It stands on the CR, in `status.deletion`, so that every later run goes on with it.

    Runs fail, are cancelled or terminated, and Temporal's data may be lost; none of that grants a fresh budget.
    """

    began: AwareDatetime
    hard_delete_ends: AwareDatetime
    last_attempt_ends: AwareDatetime | None = None
    """Set when hard delete was granted its one attempt after a deadline that nobody could use."""
    extensions: list[Extension] = Field([], max_length=MOST_RECORDED)
    holds: list[Hold] = Field([], max_length=MOST_RECORDED)
    soft_delete_began: AwareDatetime | None = None
    because: str = Field("", max_length=LONGEST_BECAUSE)
    """Why hard delete ended."""

    @property
    def ends(self) -> datetime:
        """When soft delete follows at the latest."""
        return self.last_attempt_ends or self.hard_delete_ends

    def bounded(self, hard_delete: timedelta, last_attempt: timedelta, now: datetime) -> "DeletionRecord":
        """The same with no later deadline than people could give a deletion that begins now.

        It is read from the CR's status, and whoever may write that may have written any moment.
        """
        given = timedelta(minutes=MOST_MINUTES) + LONGEST_HOLD
        last = self.last_attempt_ends and min(self.last_attempt_ends, now + last_attempt + given)
        ends = min(self.hard_delete_ends, now + hard_delete + given)
        return self.model_copy(update={"hard_delete_ends": ends, "last_attempt_ends": last})

    def held(self, now: datetime) -> Hold | None:
        """The hold that stops the budget now."""
        return next((hold for hold in self.holds if hold.ends > now), None)

    def take(self, request: Request, now: datetime) -> str:
        """Do what a person asks for, and say what is so then.

        Raises:
            ValueError: it is more than a person may ask for, or makes no sense now; then nothing has changed.
        """
        match request:
            case ExtendRequest():
                done = self._extend(request, now)
            case HoldRequest():
                done = self._hold(request, now)
            case ResumeRequest():
                done = self._resume(request, now)
        return f"{done}; soft delete follows at {_moment(self.ends)} at the latest"

    def asked(self, now: datetime) -> list[str]:
        """What people asked for, the latest last, for the CR and the report; of many only the latest."""
        hold = self.held(now)
        past = sorted(
            [(each.at, str(each)) for each in self.extensions]
            + [(each.since, str(each)) for each in self.holds if each is not hold]
        )
        told = [text for _, text in past]
        if hold:
            rest = show_duration(max(self.ends - hold.ends, timedelta()))
            told.append(
                f"{hold.by} holds it since {_moment(hold.since)} ({hold.why}): the budget stands still until it is "
                f"resumed, or until {_moment(hold.ends)}, and has {rest} left then"
            )
        earlier = len(told) - MOST_SHOWN
        return [f"earlier interventions: {earlier}", *told[earlier:]] if earlier > 0 else told

    def begin_soft_delete(self, because: str, now: datetime) -> None:
        """Hard delete is over, for every later run too. What the first one says of it stays."""
        if self.soft_delete_began is None:
            self.soft_delete_began = now
            self.because = plain("; ".join([plain(because, 2_000), *self.asked(now)]), LONGEST_BECAUSE)

    def _extend(self, request: ExtendRequest, now: datetime) -> str:
        used = sum(each.minutes for each in self.extensions)
        if used + request.minutes > MOST_MINUTES:
            raise ValueError(
                f"{used} of the {MOST_MINUTES} minutes by which a deletion may be extended are used: "
                f"{MOST_MINUTES - used} are left"
            )
        _have_room(self.extensions, "extended")
        self.extensions.append(Extension(at=now, minutes=request.minutes, by=request.by, why=request.why))
        self._put_off(timedelta(minutes=request.minutes))
        return f"{request.by} extended hard delete by {_minutes(request.minutes)} ({request.why})"

    def _hold(self, request: HoldRequest, now: datetime) -> str:
        if hold := self.held(now):
            raise ValueError(f"{hold.by} holds it already, until {_moment(hold.ends)}")
        left = LONGEST_HOLD - sum((each.ends - each.since for each in self.holds), timedelta())
        if left < timedelta(seconds=1):
            raise ValueError(f"it was held for {show_duration(LONGEST_HOLD)} already, which is the most")
        _have_room(self.holds, "held")
        self.holds.append(Hold(since=now, ends=now + left, by=request.by, why=request.why))
        self._put_off(left)
        return (
            f"{request.by} holds the budget of hard delete ({request.why}); the hold ends by itself at "
            f"{_moment(now + left)}"
        )

    def _resume(self, request: ResumeRequest, now: datetime) -> str:
        hold = self.held(now)
        if hold is None:
            raise ValueError("nothing to resume: nobody holds it")
        self._put_off(now - hold.ends)
        hold.ends, hold.resumed_by = now, request.by
        return f"{request.by} resumed hard delete, held by {hold.by} since {_moment(hold.since)}"

    def _put_off(self, by: timedelta) -> None:
        if self.last_attempt_ends:
            self.last_attempt_ends += by
        else:
            self.hard_delete_ends += by


def _have_room(recorded: list[Extension] | list[Hold], done: str) -> None:
    if len(recorded) >= MOST_RECORDED:
        raise ValueError(f"it was {done} {MOST_RECORDED} times already, which is the most")


def _minutes(number: int) -> str:
    return show_duration(timedelta(minutes=number))


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
