from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.operators import Operator, OperatorRef, contenders, responsible

START = datetime(2026, 1, 1, tzinfo=UTC)


@st.composite
def operators(draw: st.DrawFn) -> list[Operator]:
    keys = draw(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), unique=True, max_size=9))
    return [
        Operator(
            ref=OperatorRef(namespace=namespace, name=name, uid=f"{namespace}{name}"),
            created=START + timedelta(seconds=draw(st.integers(0, 2))),
            holds_finalizer=draw(st.booleans()),
            deleting=draw(st.booleans()),
        )
        for namespace, name in keys
    ]


@given(operators(), st.randoms())
def test_exactly_one_is_responsible_in_whatever_order_they_are_seen(
    found: list[Operator], chance: st.DataObject
) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert responsible(found) == responsible(shuffled)
    assert (responsible(found) is None) == (not found)


@given(operators())
def test_whoever_holds_our_finalizer_is_responsible_whatever_its_age(found: list[Operator]) -> None:
    chosen = responsible(found)
    if any(other.holds_finalizer for other in found):
        assert chosen is not None and chosen.holds_finalizer


@given(operators())
def test_nobody_is_older_than_the_responsible_one_of_those_that_are_marked_alike(found: list[Operator]) -> None:
    chosen = responsible(found)
    alike = [other for other in found if chosen and other.holds_finalizer == chosen.holds_finalizer]
    assert all(chosen is not None and chosen.created <= other.created for other in alike)


@given(operators())
def test_a_claim_is_only_ever_disputed_by_unmarked_ones_of_the_same_second(found: list[Operator]) -> None:
    chosen = responsible(found)
    if chosen is not None:
        for other in contenders(chosen, found):
            assert other.created == chosen.created and not other.holds_finalizer and other != chosen


def test_one_that_is_being_deleted_still_counts() -> None:
    going = Operator(ref=OperatorRef(namespace="a", name="x", uid="1"), created=START, deleting=True)
    young = Operator(ref=OperatorRef(namespace="a", name="y", uid="2"), created=START + timedelta(seconds=1))
    assert responsible([young, going]) == going


def test_an_older_stray_takes_over_nothing_from_the_one_with_our_finalizer() -> None:
    stray = Operator(ref=OperatorRef(namespace="a", name="x", uid="1"), created=START)
    marked = Operator(
        ref=OperatorRef(namespace="a", name="y", uid="2"),
        created=START + timedelta(seconds=1),
        holds_finalizer=True,
    )
    assert responsible([stray, marked]) == marked
