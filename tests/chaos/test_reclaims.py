"""A sample of `make chaos ARGS=parts=reclaims`, which plays all of it: docs/reliability.md has the whole table."""

from collections.abc import Iterator

import pytest

from tests.chaos.reclaims import TROUBLES, Trouble, reclaim_stage, tell
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

SAMPLE = {
    ("worker killed (SIGKILL) after it was carried out", "DELETE of an instance"),
    ("it is carried out, its answer is lost", "DELETE of a binding"),
    ("worker frozen, the objects made again, and it goes on by itself", "look for living instances"),
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with reclaim_stage() as started:
        yield started


@pytest.mark.parametrize(
    "trouble", [trouble for said, call, trouble in TROUBLES if (said, call) in SAMPLE], ids=lambda each: each.call.path
)
def test_nothing_is_deleted_that_the_report_does_not_name_and_nothing_is_forgotten(
    stage: Stage, trouble: Trouble
) -> None:
    outcome = tell(stage, trouble)
    assert (outcome.failed, outcome.untrue) == ([], set())
