import re
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from localcluster.controlplane import CHECKOUT
from models.conditions import MEANING, Reason, State, ready_condition, status_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def test_the_transition_time_moves_only_when_the_status_flips() -> None:
    first = status_after(None, Reason.INITIALIZED, "begins", 1, NOW)
    second = status_after(first, Reason.MISSING_SECRET, "no Secret", 1, LATER)
    third = status_after(second, Reason.RECONCILE_SUCCEEDED, "fine", 1, LATER)
    assert ready_condition(second)["lastTransitionTime"] == "2026-01-01T00:00:00Z"
    assert ready_condition(third)["lastTransitionTime"] == "2026-01-01T00:01:00Z"


def test_what_the_status_says_already_is_not_written_again() -> None:
    once = status_after(None, Reason.INITIALIZED, "begins", 1, NOW)
    assert status_after(once, Reason.INITIALIZED, "begins", 1, LATER) is None
    assert status_after(once, Reason.INITIALIZED, "begins", 2, LATER) is not None


@given(st.sampled_from(list(Reason)), st.text(), st.integers(0, 9))
def test_every_condition_has_a_reason_a_message_and_a_generation(reason: Reason, text: str, generation: int) -> None:
    status = status_after(None, reason, text, generation, NOW)
    condition = ready_condition(status)
    assert condition["message"] and condition["reason"] == reason
    assert condition["observedGeneration"] == generation
    assert status is not None and status["state"] in set(State)


def test_only_ready_is_true() -> None:
    assert {reason for reason in Reason if MEANING[reason].ready} == {Reason.RECONCILE_SUCCEEDED}
    assert all(MEANING[reason].ready == (MEANING[reason].state is State.READY) for reason in Reason)


def test_the_page_on_conditions_says_what_the_table_says() -> None:
    page = (CHECKOUT / "docs" / "conditions.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (\w+) \| (.+?) \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    told = {row[0]: row[1:] for row in rows}
    expected = {
        reason.value: (meaning.state.value, str(meaning.ready), meaning.when, meaning.advice, runbook(reason))
        for reason, meaning in MEANING.items()
    }
    assert told == expected


def runbook(reason: Reason) -> str:
    return f"[runbook](runbooks.md#{reason.lower()})"
