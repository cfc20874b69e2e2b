"""A sample of `make chaos`, which runs all of it: docs/reliability.md has the whole table."""

import re
import time
from collections.abc import Iterator

import pytest

from localcluster.environment import Environment
from tests.chaos.away import ABSENCES
from tests.chaos.degraded import ONE_OF_TWO, one_of_two
from tests.chaos.faults import FAULTS
from tests.chaos.replicas import KILLED
from tests.chaos.stage import Outcome, Stage, stage
from tests.chaos.stories import BUDGET, HARD, PROVISION, SOFT, STORIES, Story

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


def ends_as_undisturbed(scene: Stage, story: Story, outcome: Outcome) -> None:
    undisturbed = scene.undisturbed(story)
    assert outcome.state == undisturbed.state
    assert (outcome.failed, outcome.untrue) == ([], set())


@pytest.fixture(scope="module", params=STORIES, ids=lambda story: story.name)
def story(request: pytest.FixtureRequest) -> Story:
    """Each story in turn, for all tests here."""
    chosen: Story = request.param
    return chosen


@pytest.fixture(scope="module")
def alone() -> Iterator[Stage]:
    """One worker and one trigger."""
    with stage() as started:
        yield started


@pytest.fixture(scope="module")
def scene() -> Iterator[Stage]:
    """Three workers and two triggers; a killed one is started again at once."""
    with stage(workers=3, triggers=2) as started:
        yield started


SAMPLE = {
    PROVISION.name: [
        "the first request for each path is answered 500",
        "watch events come twice and in another order",
        "every other watch is cut off in the middle of its first event",
    ],
    HARD.name: [
        "the first write to each object is answered 409",
        "one request in five is answered 503",
        "each list is answered once as it was before",
    ],
    SOFT.name: ["the first write to each object takes effect, its answer is lost"],
}


def test_faults_change_nothing_about_the_end(scene: Stage, story: Story) -> None:
    for fault in SAMPLE[story.name]:
        ends_as_undisturbed(scene, story, scene.play(story, FAULTS[fault]))


def test_two_workers_of_three_and_a_trigger_of_two_may_die(scene: Stage, story: Story) -> None:
    killing = next(killing for name, killing in KILLED.items() if "two workers" in name)
    ends_as_undisturbed(scene, story, scene.play(story, meanwhile=killing))


def test_two_triggers_and_three_workers_write_nothing_that_one_of_each_would_not(
    scene: Stage, alone: Stage, story: Story
) -> None:
    assert sorted(_essential(scene.undisturbed(story))) == sorted(_essential(alone.undisturbed(story)))


def _essential(outcome: Outcome) -> set[str]:
    """The writes, but not how many objects each deletion asked for: that depends on which were seen gone when."""
    return {
        re.sub(r"(/service(instances|bindings))/.*", r"\1", path) for path in outcome.writes if "/events" not in path
    }


def test_a_worker_killed_right_after_a_write_and_budget_and_work_stay_what_they_are(alone: Stage, story: Story) -> None:
    write = {PROVISION.name: 8, HARD.name: 9, SOFT.name: 14}[story.name]
    outcome = alone.play(story, kill_after=write)
    assert outcome.killed == 1
    ends_as_undisturbed(alone, story, outcome)


def test_the_budget_of_a_hard_delete_is_one_whatever_restarts(alone: Stage) -> None:
    """A restart that granted a fresh budget would add one for each kill."""

    def kill_again_and_again(environment: Environment) -> None:
        for _ in range(4):
            time.sleep(BUDGET / 5)
            for manager in environment.workers:
                assert manager.process is not None
                manager.process.kill()
                manager.start()

    outcome = alone.play(SOFT, meanwhile=kill_again_and_again)
    ends_as_undisturbed(alone, SOFT, outcome)
    assert outcome.seconds < BUDGET + 60  # the promise of the specification


def test_what_changes_while_servers_are_away_takes_effect_after_their_return(alone: Stage) -> None:
    for absence in ABSENCES.values():
        absence(alone, 4)


@pytest.fixture(scope="module")
def pair() -> Iterator[Stage]:
    """Two workers and a trigger, each with lines of its own to both servers."""
    with stage(workers=2, lines=True) as started:
        yield started


@pytest.mark.parametrize(
    ("trouble", "story"),
    [("one of two workers frozen", HARD), ("one of two workers hears nothing from Temporal", PROVISION)],
)
def test_a_worker_that_comes_back_writes_nothing_of_what_another_one_has_finished(
    pair: Stage, trouble: str, story: Story
) -> None:
    ends_as_undisturbed(pair, story, one_of_two(pair, story, ONE_OF_TWO[trouble]))
