"""What a person may ask of a deletion's budget: never more than a day of each, and always said beforehand."""

from datetime import UTC, datetime, timedelta

import pytest

from models.deletion_record import (
    MOST_RECORDED,
    DeletionRecord,
    ExtendRequest,
    HoldRequest,
    Request,
    ResumeRequest,
)

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
DEADLINE = NOON + timedelta(minutes=20)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOLD, RESUME = HoldRequest(by="alice", why="a ticket"), ResumeRequest(by="bob")


def extend(minutes: int) -> ExtendRequest:
    return ExtendRequest(minutes=minutes, by="alice", why="a ticket")


@pytest.fixture
def record() -> DeletionRecord:
    return DeletionRecord(began=NOON, hard_delete_ends=DEADLINE)


def refusal(record: DeletionRecord, request: Request, now: datetime) -> str:
    before = record.model_copy(deep=True)
    with pytest.raises(ValueError) as error:
        record.take(request, now)
    assert record == before
    return str(error.value)


def test_extensions_add_up_to_a_day_and_no_minute_more(record: DeletionRecord) -> None:
    record.take(extend(1400), NOON)
    assert refusal(record, extend(41), NOON).endswith("are used: 40 are left")
    record.take(extend(40), NOON)
    assert record.ends == DEADLINE + 24 * HOUR
    assert refusal(record, extend(1), NOON).endswith("0 are left")


def test_a_hold_moves_the_deadline_by_as_long_as_it_lasted(record: DeletionRecord) -> None:
    record.take(HOLD, NOON + MINUTE)
    record.take(RESUME, NOON + 4 * MINUTE)
    assert record.ends == DEADLINE + 3 * MINUTE
    assert record.held(NOON + 4 * MINUTE) is None


def test_holds_last_a_day_together_and_end_by_themselves(record: DeletionRecord) -> None:
    record.take(HOLD, NOON)
    record.take(RESUME, NOON + 10 * HOUR)
    said = record.take(HOLD, NOON + 10 * HOUR)
    assert "ends by itself at 2026-11-26 12:00:00 UTC; soft delete follows at 2026-11-26 12:20:00 UTC" in said
    assert record.held(NOON + 24 * HOUR) is None
    assert refusal(record, RESUME, NOON + 24 * HOUR) == "nothing to resume: nobody holds it"
    assert refusal(record, HOLD, NOON + 24 * HOUR) == "it was held for 24h already, which is the most"


def test_a_held_deletion_says_who_holds_it_until_when_and_what_is_left_then(record: DeletionRecord) -> None:
    record.take(HOLD, NOON + MINUTE)
    record.take(extend(10), NOON + 2 * MINUTE)
    *_, held = record.asked(NOON + 3 * MINUTE)
    assert held == (
        "alice holds it since 2026-11-25 12:01:00 UTC (a ticket): the budget stands still until it is resumed, "
        "or until 2026-11-26 12:01:00 UTC, and has 29m left then"
    )
    assert record.ends == DEADLINE + 24 * HOUR + 10 * MINUTE


def test_in_a_last_attempt_its_end_is_what_moves(record: DeletionRecord) -> None:
    record.last_attempt_ends = DEADLINE + HOUR
    record.take(extend(5), DEADLINE + HOUR)
    assert (record.ends, record.hard_delete_ends) == (DEADLINE + HOUR + 5 * MINUTE, DEADLINE)


def test_what_stands_on_the_cr_is_bounded(record: DeletionRecord) -> None:
    for number in range(MOST_RECORDED):
        record.take(extend(1), NOON)
        record.take(HOLD, NOON + number * MINUTE)
        record.take(RESUME, NOON + number * MINUTE)
    assert refusal(record, extend(1), NOON) == "it was extended 20 times already, which is the most"
    assert refusal(record, HOLD, NOON + HOUR) == "it was held 20 times already, which is the most"
    told = record.asked(NOON + HOUR)
    assert len(told) == 4 and told[0] == "earlier interventions: 37"


def test_why_hard_delete_ended_is_said_with_what_people_asked_for_and_stays(record: DeletionRecord) -> None:
    record.take(extend(5), NOON)
    record.begin_soft_delete("not done within 20m", DEADLINE)
    assert record.soft_delete_began == DEADLINE
    assert record.because.startswith("not done within 20m; alice extended it by 5m at")
    first = record.model_copy(deep=True)
    record.begin_soft_delete("of a later run", DEADLINE + HOUR)
    assert record == first


def test_a_record_that_somebody_else_wrote_ends_no_later_than_one_of_ours_could() -> None:
    never = datetime(9999, 12, 31, tzinfo=UTC)
    absurd = DeletionRecord(began=never, hard_delete_ends=never, last_attempt_ends=never)
    bounded = absurd.bounded(20 * MINUTE, 2 * MINUTE, NOON)
    assert bounded.hard_delete_ends == DEADLINE + 48 * HOUR and bounded.ends == NOON + 2 * MINUTE + 48 * HOUR


def test_a_record_of_ours_stays_what_it_is_whatever_people_asked_for(record: DeletionRecord) -> None:
    record.take(extend(1440), NOON)
    record.take(HOLD, NOON)
    assert record.bounded(20 * MINUTE, 2 * MINUTE, NOON) == record
    assert record.bounded(20 * MINUTE, 2 * MINUTE, NOON + HOUR) == record
