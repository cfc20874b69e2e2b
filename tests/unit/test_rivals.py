"""Who changes our fields back is found in the API server's record of who set which field. Pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.resources import DEPLOYMENTS
from models.provision import CHANCE, MOST_CONTESTS, QUIET, Contest, Rivalry
from operand.rendered_vs_live import Item
from operand.rivals import Rivals

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WANTED = {"metadata": {"name": "d", "namespace": "n"}, "spec": {"replicas": 1}}


def an_object(replicas: int, entries: list[dict[str, Any]]) -> dict[str, Any]:
    meta = {"name": "d", "namespace": "n", "uid": "1", "resourceVersion": "1", "managedFields": entries}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": replicas}}


def ours(at: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"manager": "btp-manager", "operation": "Apply", "time": at, "fieldsV1": fields or {"f:spec": {}}}


def theirs(name: str, at: str) -> dict[str, Any]:
    return {"manager": name, "operation": "Update", "time": at, "fieldsV1": {"f:spec": {"f:replicas": {}}}}


def seen(before: dict[str, Any] | None, after: dict[str, Any]) -> list[Contest]:
    return Rivals().contests("uid", Item(DEPLOYMENTS, WANTED, before), after)


AFTER = an_object(1, [ours("2026-01-01T00:01:00Z", {"f:spec": {"f:replicas": {}}})])


def test_the_object_the_field_and_the_latest_manager_of_the_field_are_named() -> None:
    entries = [ours("2026-01-01T00:00:10Z"), theirs("early", "2026-01-01T00:00:11Z")]
    (contest,) = seen(an_object(0, [*entries, theirs("late", "2026-01-01T00:00:12Z")]), AFTER)
    assert str(contest) == (
        "Deployment n/d: spec.replicas is changed back by field manager 'late' whenever it is applied"
    )
    (contest,) = seen(an_object(0, [ours("2026-01-01T00:00:10Z")]), AFTER)
    assert "by somebody" in str(contest)


def test_drift_long_after_our_apply_and_a_new_wish_of_our_own_are_no_contest() -> None:
    assert seen(an_object(0, [ours("2025-12-31T23:45:00Z"), theirs("kubectl", "2026-01-01T00:00:50Z")]), AFTER) == []
    assert seen(an_object(0, [ours("2026-01-01T00:00:50Z", {"f:spec": {"f:replicas": {}}})]), AFTER) == []
    assert seen(an_object(0, []), AFTER) == []


def test_an_object_that_is_deleted_again_soon_after_it_was_written_is_contested_and_a_new_cr_begins_anew() -> None:
    rivals, item = Rivals(), Item(DEPLOYMENTS, WANTED, None)
    assert rivals.contests("one", item, AFTER) == []
    assert str(*rivals.contests("one", item, AFTER)) == "Deployment n/d is deleted again whenever it is applied"
    assert rivals.contests("two", item, AFTER) == []


def test_pauses_grow_with_the_rounds_of_one_field_and_end_a_minute_after_the_last() -> None:
    rivalry, pauses = Rivalry(), []
    for _ in range(8):
        rivalry = rivalry.after([Contest(object="o", field="f")], NOW)
        pauses.append(rivalry.pause.total_seconds())
    assert pauses == [0, 2, 10, 20, 40, 60, 60, 60]
    assert rivalry.after([], NOW + QUIET - timedelta(seconds=1)) == rivalry
    assert rivalry.after([], NOW + QUIET) == Rivalry()


def test_one_change_of_each_of_many_fields_is_chance() -> None:
    rivalry = Rivalry().after([Contest(object=f"o{number}", field="f") for number in range(50)], NOW)
    assert rivalry.over_at == NOW + CHANCE
    assert rivalry.pause == timedelta(0) and rivalry.named == "" and len(rivalry.contests) == MOST_CONTESTS


class Slow:
    """Somebody who changes a field back each so often, however soon it was applied again; no run lives without need."""

    def __init__(self, period: timedelta) -> None:
        self.period, self.now = period, NOW + timedelta(seconds=7)
        self._rivals, self._rivalry = Rivals(), Rivalry()
        self._applied = NOW

    def change_back(self) -> Rivalry:
        """One round: the field is changed, the run is nudged, waits as long as it has to, and applies."""
        if self._rivalry.over_at and self.now >= self._rivalry.over_at:
            self._rivalry = Rivalry()  # the run has ended, and with it what it knew
        live = an_object(0, [ours(f"{self._applied:%FT%TZ}"), theirs("argocd", f"{self.now:%FT%TZ}")])
        self._applied = self.now + self._rivalry.pause
        after = an_object(1, [ours(f"{self._applied:%FT%TZ}", {"f:spec": {"f:replicas": {}}})])
        seen = self._rivals.contests("uid", Item(DEPLOYMENTS, WANTED, live), after)
        self._rivalry = self._rivalry.after(seen, self._applied)
        while self.now <= self._applied:
            self.now += self.period
        return self._rivalry


@pytest.mark.parametrize("seconds", [1, 90, 300, 600])
def test_a_rival_is_named_after_a_few_rounds_however_slow_it_is_up_to_ten_minutes(seconds: int) -> None:
    rival = Slow(timedelta(seconds=seconds))
    said = [rival.change_back().named for _ in range(12)]
    assert not any(said[:2]) and all(said[4:])
    assert "spec.replicas is changed back by field manager 'argocd'" in said[-1]


def test_a_contest_is_over_a_minute_after_a_fast_rival_gave_up_and_after_twice_its_time_for_a_slow_one() -> None:
    fast = Contest(object="o", field="f", within=timedelta(seconds=1))
    slow = Contest(object="o", field="g", within=timedelta(minutes=5))
    assert Rivalry().after([fast], NOW).after([fast], NOW).over_at == NOW + QUIET
    assert Rivalry().after([slow], NOW).over_at == NOW + timedelta(minutes=10)
    assert Rivalry().after([slow], NOW).after([slow], NOW).over_at == NOW + timedelta(minutes=10)
    both = Rivalry().after([slow, fast], NOW).after([fast], NOW)
    assert both.over_at == NOW + QUIET  # one change that may be chance does not hold back what is known


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=2), max_size=30))
def test_from_the_third_round_of_a_field_on_it_is_named_and_writes_are_ten_seconds_apart(
    rounds: list[list[str]],
) -> None:
    rivalry, counted = Rivalry(), dict.fromkeys("abc", 0)
    for fields in rounds:
        rivalry = rivalry.after([Contest(object="o", field=field) for field in dict.fromkeys(fields)], NOW)
        for field in dict.fromkeys(fields):
            counted[field] += 1
        assert (max(counted.values()) >= 3) == bool(rivalry.named) == (rivalry.pause >= timedelta(seconds=10))
