"""A sample of `make chaos`, which runs all of it: docs/reliability.md has the whole table."""

import time
from collections.abc import Iterator

import pytest

from tests.chaos.away import ABSENCES
from tests.chaos.faults import FAULTS
from tests.chaos.replicas import KILLED
from tests.chaos.stage import Stage, stage
from tests.chaos.stories import BUDGET, HARD, PROVISION, SOFT, STORIES, Story

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    """Three workers and two triggers; a killed one is started again at once."""
    with stage(workers=3, triggers=2) as started:
        yield started


def ends_as_undisturbed(scene: Stage, story: Story, outcome: object) -> None:
    undisturbed = scene.undisturbed(story)
    assert getattr(outcome, "state", None) == undisturbed.state
    assert getattr(outcome, "failed", None) == []


@pytest.mark.parametrize(("story", "write"), [(PROVISION, 8), (HARD, 9), (SOFT, 14)], ids=lambda value: str(value)[:20])
def test_a_worker_killed_right_after_a_write_changes_nothing_about_the_end(story: Story, write: int) -> None:
    with stage() as alone:
        outcome = alone.play(story, kill_after=write)
        assert outcome.killed == 1
        ends_as_undisturbed(alone, story, outcome)


@pytest.mark.parametrize(
    ("fault", "story"),
    [
        ("the first write to each object is answered 409", HARD),
        ("the first request for each path is answered 500", PROVISION),
        ("the first write to each object takes effect, its answer is lost", SOFT),
        ("one request in five is answered 503", HARD),
        ("each list is answered once as it was before", HARD),
        ("watch events come twice and in another order", PROVISION),
        ("every other watch is cut off in the middle of its first event", PROVISION),
    ],
)
def test_a_fault_changes_nothing_about_the_end(scene: Stage, fault: str, story: Story) -> None:
    ends_as_undisturbed(scene, story, scene.play(story, FAULTS[fault]))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_two_workers_of_three_and_a_trigger_of_two_may_die(scene: Stage, story: Story) -> None:
    killing = next(killing for name, killing in KILLED.items() if "two workers" in name)
    ends_as_undisturbed(scene, story, scene.play(story, meanwhile=killing))


def test_two_triggers_and_three_workers_do_nothing_twice(scene: Stage) -> None:
    with stage() as alone:
        expected = alone.undisturbed(HARD)
    found = scene.undisturbed(HARD)
    assert found.state == expected.state
    assert sorted(path for path in found.writes if "/events" not in path and "/status" not in path) == sorted(
        path for path in expected.writes if "/events" not in path and "/status" not in path
    )


@pytest.mark.parametrize("name", list(ABSENCES))
def test_what_changes_while_a_server_is_away_takes_effect_after_its_return(scene: Stage, name: str) -> None:
    ABSENCES[name](scene, 4)


def test_the_budget_of_a_hard_delete_is_one_whatever_restarts(scene: Stage) -> None:
    """A restart that granted a fresh budget would add one for each kill."""

    def kill_again_and_again(environment: object) -> None:
        for _ in range(4):
            time.sleep(BUDGET / 5)
            for manager in scene.environment.workers:
                assert manager.process is not None
                manager.process.kill()
                manager.start()

    outcome = scene.play(SOFT, meanwhile=kill_again_and_again)
    ends_as_undisturbed(scene, SOFT, outcome)
    assert outcome.seconds < BUDGET + 60  # the promise of the specification
