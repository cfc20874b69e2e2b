"""Neither well nor dead: workers that freeze or lose one side, a Temporal that is slow, silent, busy or empty.

Each story has to end as undisturbed. Besides, where one of two workers is in trouble, the world moves on before the
trouble ends: the worker then holds work that nobody asks for any more, and must not write a thing.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from kube.resources import BTP_OPERATORS
from localcluster.environment import Environment, Manager
from localcluster.lines import Line
from models.names import KYMA_NAMESPACE
from tests.chaos.stage import PATIENCE, Outcome, Stage
from tests.chaos.stories import HARD, PROVISION, SOFT, Story

QUIET: Final = 8.0
"""Seconds for which nothing may be written when the trouble is over: retries, heartbeats and polls come within them."""
BUSY: Final = {"frontend.namespaceRPS": 4, "frontend.namespaceBurstRatio": 1}
"""Of Temporal: requests per second, in all. Two workers and a trigger want many more while a story is played."""

Trouble = Callable[[Environment, list[Manager]], AbstractContextManager[None]]
"""What goes wrong with these workers, until the block ends."""


@contextmanager
def dead(_: Environment, workers: list[Manager]) -> Iterator[None]:
    for worker in workers:
        assert worker.process is not None
        worker.process.kill()
    yield
    for worker in workers:
        worker.start()


@contextmanager
def frozen(_: Environment, workers: list[Manager]) -> Iterator[None]:
    processes = [worker.process for worker in workers if worker.process is not None]
    for process in processes:
        process.freeze()
    try:
        yield
    finally:
        for process in processes:
            process.thaw()


@contextmanager
def temporal_stopped(environment: Environment, _: list[Manager]) -> Iterator[None]:
    environment.temporal.stop()
    try:
        yield
    finally:
        environment.temporal.start()


@contextmanager
def api_server_stopped(environment: Environment, _: list[Manager]) -> Iterator[None]:
    environment.cluster.stop_apiserver()
    try:
        yield
    finally:
        environment.cluster.start_apiserver()


def _lines(choose: Callable[[Manager], Line], harm: Callable[[Line], None]) -> Trouble:
    @contextmanager
    def trouble(_: Environment, workers: list[Manager]) -> Iterator[None]:
        for worker in workers:
            harm(choose(worker))
        try:
            yield
        finally:
            for worker in workers:
                choose(worker).heal()

    return trouble


def _slow(line: Line) -> None:
    line.latency = 0.3


temporal_silent: Final = _lines(lambda worker: worker.to_temporal, Line.hold)
temporal_cut: Final = _lines(lambda worker: worker.to_temporal, Line.cut)
temporal_slow: Final = _lines(lambda worker: worker.to_temporal, _slow)
api_server_silent: Final = _lines(lambda worker: worker.to_api_server, Line.hold)
api_server_cut: Final = _lines(lambda worker: worker.to_api_server, Line.cut)

ONE_OF_TWO: Final[Mapping[str, Trouble]] = {
    "one of two workers frozen": frozen,
    "one of two workers hears nothing from Temporal": temporal_silent,
    "one of two workers is cut off from Temporal": temporal_cut,
    "one of two workers hears nothing from the API server": api_server_silent,
    "one of two workers is cut off from the API server": api_server_cut,
}


def one_of_two(stage: Stage, story: Story, trouble: Trouble) -> Outcome:
    """The first worker has the work when its trouble begins, and holds it until all is over and something new began.

    Raises:
        AssertionError: the story is stuck, or the worker did something when it came back.
    """
    first, second = stage.environment.workers
    with ExitStack() as over:

        def alone(_: Environment) -> None:
            second.stop()
            stage.scene.sap.latency = 1.0  # long enough to be in the middle of it

        def disturb(environment: Environment) -> None:
            stage.scene.until(lambda: story.in_the_middle(stage.scene), f"{story.name} to be in the middle")
            over.enter_context(trouble(environment, [first]))
            stage.scene.sap.latency = 0.0
            second.start()

        def afterwards() -> None:
            _move_on(stage, story, over.close)
            first.wait_ready()

        return stage.play(story, before=alone, meanwhile=disturb, afterwards=afterwards)


def _move_on(stage: Stage, story: Story, end_trouble: Callable[[], None]) -> None:
    """Let the trouble end in a world in which nobody asks for that work any more."""
    scene = stage.scene
    if story is PROVISION:
        scene.person.delete_operator("btpoperator")
        scene.gone(seconds=PATIENCE)
    else:
        scene.ready(seconds=120)
        scene.patiently(lambda: scene.person.create_instance("team-a", "brand-new"))
        scene.until(lambda: len(scene.sap.instances) == 1, "SAP to have the new instance")
    stage.settle()
    before = _world(stage)
    stage.environment.proxy.writes.clear()
    end_trouble()
    ends = time.monotonic() + QUIET
    while time.monotonic() < ends:
        assert (now := _world(stage)) == before, f"after the trouble: {now} instead of {before}"
        time.sleep(0.5)
    writes = [write for write in stage.environment.proxy.writes if "/events" not in write and "/leases" not in write]
    assert writes == [], f"after the trouble: {writes}"


def _world(stage: Stage) -> dict[str, Any]:
    scene = stage.scene
    return {
        "CR": scene.person.status("btpoperator"),
        "installed": scene.person.managed_paths() if scene.state() else [],
        "in SAP": sorted(each["name"] for each in scene.sap.instances.values()),
    }


def brief(story: Story, name: str, middle: Callable[[Any], bool], **settings: str) -> Story:
    return replace(story, name=name, in_the_middle=middle, settings={**story.settings, **settings})


def slow(stage: Stage, story: Story) -> Outcome:
    """Everything that Temporal says or hears takes 0.3 s longer."""
    environment = stage.environment
    with temporal_slow(environment, environment.workers + environment.triggers):
        return stage.play(story)


def silent(stage: Stage, story: Story) -> Outcome:
    """Nobody hears from Temporal for a while."""

    def disturb(environment: Environment) -> None:
        stage.scene.until(lambda: story.in_the_middle(stage.scene), f"{story.name} to be in the middle")
        with temporal_silent(environment, environment.workers + environment.triggers):
            time.sleep(15)

    return stage.play(story, meanwhile=disturb)


def throttled(stage: Stage, story: Story) -> Outcome:
    """Temporal takes only a few requests a second, and refuses the others."""
    temporal = stage.environment.temporal
    refused = 0

    def restart(limits: Mapping[str, object]) -> None:
        temporal.stop()
        temporal.dynamic = dict(limits)
        temporal.start()

    def count(_: Environment | None = None) -> None:
        nonlocal refused
        refused = temporal.requests_refused()

    try:
        outcome = stage.play(story, before=lambda _: restart(BUSY), afterwards=count)
    finally:
        restart({})
    assert refused, "Temporal refused nothing"
    return outcome


LASTING: Final = brief(SOFT, "soft deprovisioning, budget 25 s", HARD.in_the_middle, BTP_HARD_DELETE_TIMEOUT="25s")


def emptied(stage: Stage, story: Story) -> Outcome:
    """Temporal comes back without its data; what the CR says of the deletion is what remains."""
    scene = stage.scene
    ends = ""

    def disturb(environment: Environment) -> None:
        nonlocal ends
        scene.until(lambda: story.in_the_middle(scene), f"{story.name} to be in the middle")
        scene.sap.latency = 0.0
        ends = _deletion(stage).get("hardDeleteEnds", "")
        environment.temporal.stop()
        environment.temporal.forget()
        environment.temporal.start()
        if story is LASTING:
            scene.until(lambda: "softDeleteBegan" in _deletion(stage), "soft delete", 120)
            said = _deletion(stage)
            late = datetime.fromisoformat(said["softDeleteBegan"]) - datetime.fromisoformat(ends)
            assert said["hardDeleteEnds"] == ends and timedelta() <= late, f"a fresh budget: {said}, before: {ends}"

    def before(_: Environment) -> None:
        scene.sap.latency = 1.0

    outcome = stage.play(story, before=before, meanwhile=disturb)
    # Nobody knows any more what the runs of before had removed.
    outcome.state["results"] = stage.undisturbed(story).state["results"]
    return outcome


def _deletion(stage: Stage) -> dict[str, Any]:
    obj = stage.scene.person.get(BTP_OPERATORS.path(KYMA_NAMESPACE, "btpoperator")) or {}
    found: dict[str, Any] = (obj.get("status") or {}).get("deletion") or {}
    return found


TEMPORAL: Final[Mapping[str, Callable[[Stage, Story], Outcome]]] = {
    "everything from and to Temporal takes 0.3 s longer": slow,
    "nobody hears from Temporal for 15 s": silent,
    "Temporal takes 4 requests a second": throttled,
    "Temporal comes back without its data": emptied,
}
