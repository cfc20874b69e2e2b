"""All workers, or a server that they need, away for longer than a deletion or an installation grants to a step.

Each story has to end as undisturbed: the time in which nobody could try must not be held against the objects.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from localcluster.environment import Environment
from localcluster.faults import Fault
from tests.chaos.degraded import (
    Trouble,
    api_server_silent,
    api_server_stopped,
    brief,
    dead,
    frozen,
    temporal_silent,
    temporal_stopped,
)
from tests.chaos.stage import Outcome, Stage
from tests.chaos.stories import HARD, PROVISION, SOFT, Story


def _removing(scene: Any) -> bool:
    return scene.reason() == "HardDeleting" and not scene.person.service_objects()


def _installed(scene: Any) -> bool:
    return any(name.startswith("Deployment") for name in scene.person.managed_objects())


def _letting_go(scene: Any) -> bool:
    """Whether soft delete, which is slow here, takes the first finalizers off."""
    return any(fault.hits for fault in scene.environment.proxy.faults)


BRIEF_HARD: Final = brief(HARD, "hard delete's budget of 15 s", HARD.in_the_middle, BTP_HARD_DELETE_TIMEOUT="15s")
BRIEF_READY: Final = brief(PROVISION, "15 s to be ready", _installed, BTP_READY_TIMEOUT="15s")
BRIEF_REMOVAL: Final = brief(HARD, "10 s for removing the operand", _removing, BTP_DELETE_REQUEST_TIMEOUT="10s")
BRIEF_SOFT: Final = brief(SOFT, "40 s for letting go", _letting_go, BTP_DELETE_REQUEST_TIMEOUT="10s")
"""Soft delete may take four times as long as a step of the removal."""
AWAY: Final = 18.0
"""Seconds; longer than each of these budgets, but for the last."""
AWAY_LONG: Final = 45.0
"""Longer than that one."""
LONGER_THAN_BUDGETS: Final[Mapping[str, tuple[Trouble, Story]]] = {
    "all workers dead for 18 s, longer than hard delete's budget": (dead, BRIEF_HARD),
    "all workers frozen for 18 s, longer than hard delete's budget": (frozen, BRIEF_HARD),
    "no worker hears from Temporal for 18 s, longer than hard delete's budget": (temporal_silent, BRIEF_HARD),
    "no worker hears from the API server for 18 s, longer than hard delete's budget": (api_server_silent, BRIEF_HARD),
    "Temporal dead for 18 s, longer than hard delete's budget": (temporal_stopped, BRIEF_HARD),
    "all workers dead for 18 s, longer than the operand may take to be ready": (dead, BRIEF_READY),
    "all workers dead for 18 s, longer than the removal may take": (dead, BRIEF_REMOVAL),
    "the API server dead for 18 s, longer than the removal may take": (api_server_stopped, BRIEF_REMOVAL),
    "all workers dead for 45 s, longer than soft delete may take": (dead, BRIEF_SOFT),
    "all workers frozen for 45 s, longer than soft delete may take": (frozen, BRIEF_SOFT),
    "the API server dead for 45 s, longer than soft delete may take": (api_server_stopped, BRIEF_SOFT),
}


def longer_than_budget(stage: Stage, story: Story, trouble: Trouble) -> Outcome:
    """All workers are in trouble until a budget is over; neither the operand nor its pods get on meanwhile."""
    environment, scene = stage.environment, stage.scene

    def before(environment: Environment) -> None:
        scene.sap.latency = 2.0 if story is BRIEF_HARD else 0.0
        if story is BRIEF_READY:
            environment.cluster.stop_node()
        if story is BRIEF_SOFT:
            environment.proxy.faults.append(Fault(("PATCH",), "/servicebindings/", latency=5.0))

    def away(environment: Environment) -> None:
        scene.until(lambda: story.in_the_middle(scene), f"{story.name} to be in the middle")
        with trouble(environment, environment.workers):
            if story is BRIEF_HARD:
                assert scene.operand is not None
                scene.operand.kill()
            time.sleep(AWAY_LONG if story is BRIEF_SOFT else AWAY)
            scene.sap.latency = 0.0
            environment.proxy.faults.clear()
            if story is BRIEF_HARD:
                scene.operand = environment.start_operand()
            if story is BRIEF_READY:
                environment.cluster.start_node()

    outcome = stage.play(story, before=before, meanwhile=away)
    for worker in environment.workers:
        worker.wait_ready()
    return outcome
