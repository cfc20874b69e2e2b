"""Pauses between tries."""

from hypothesis import given
from hypothesis import strategies as st

from kube.backoff import FIRST_PAUSE, LONGEST_PAUSE, jittered, pause_after


@given(st.integers(1, 100_000))
def test_pauses_grow_to_a_limit_however_often_something_fails(failures: int) -> None:
    assert FIRST_PAUSE / 2 <= pause_after(failures) <= min(FIRST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE)


def test_the_first_pause_is_short_and_late_ones_are_long() -> None:
    assert pause_after(1) <= FIRST_PAUSE
    assert pause_after(50) >= LONGEST_PAUSE / 2


def test_two_that_fail_together_do_not_try_again_together() -> None:
    assert len({jittered(1.0) for _ in range(20)}) > 10
