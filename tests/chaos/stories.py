"""The three stories that faults are tried on, each with a beginning, an end, and an end state that can be compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.deletion import Scene

BUDGET = 5.0
"""Seconds for hard delete where the operand is dead; where it lives, faults may take their time."""
PAIRS = {"team-a": 2, "team-b": 2}


@dataclass(frozen=True)
class Story:
    """What is done to the cluster before the faults, what they meet, and how it has to end."""

    name: str
    prepare: Callable[[Scene], None]
    begin: Callable[[Scene], None]
    is_over: Callable[[Scene], bool]
    in_the_middle: Callable[[Scene], bool]
    """Whether its work is under way: trouble for a worker waits for this."""
    settings: Mapping[str, str]
    """Of the processes; above all hard delete's budget."""


def end_state(scene: Scene) -> dict[str, Any]:
    """Everything that a user would compare."""
    person, sap = scene.person, scene.sap
    status = person.status("btpoperator")
    return {
        "CR": (status.state, status.reason) if status else None,
        "installed": sorted(person.managed_objects()),
        "service objects": len(person.service_objects()),
        "in SAP": (len(sap.instances), len(sap.bindings)),
        "reported": sorted(scene.reported()),
        "Secrets of bindings": [
            name for name in PAIRS for number in range(2) if scene.secret(name, f"binding-{number}")
        ],
    }


def tidy(scene: Scene) -> None:
    """Nothing left for the next story."""
    scene.person.delete_operator("btpoperator")
    scene.gone()


def _credentials(scene: Scene) -> None:
    scene.sap.forget()
    scene.person.delete("/api/v1/namespaces/kyma-system/configmaps/sap-btp-abandoned")
    scene.person.put_secret(scene.sap.credentials())
    if scene.operand is not None and not scene.operand.alive:
        scene.operand = scene.environment.start_operand()  # webhooks that nobody answers keep a CR from Ready


def _in_use(scene: Scene) -> None:
    scene.ready()
    scene.make(PAIRS)


def _in_use_without_operand(scene: Scene) -> None:
    _in_use(scene)
    assert scene.operand is not None
    scene.operand.kill()


def _create(scene: Scene) -> None:
    scene.person.create_operator("btpoperator")


def _delete(scene: Scene) -> None:
    scene.person.delete_operator("btpoperator")


def _is_gone(scene: Scene) -> bool:
    return scene.person.status("btpoperator") is None


def _says(reason: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.reason() == reason


def _budget(seconds: float) -> Mapping[str, str]:
    return {"BTP_HARD_DELETE_TIMEOUT": f"{seconds:.0f}s"}


PROVISION = Story(
    "provisioning",
    _credentials,
    _create,
    lambda scene: scene.state() == "Ready",
    lambda scene: bool(scene.state()),  # it says Processing for half a second
    _budget(120),
)
HARD = Story("hard deprovisioning", _in_use, _delete, _is_gone, _says("HardDeleting"), _budget(120))
SOFT = Story(
    "soft deprovisioning",
    _in_use_without_operand,
    _delete,
    _is_gone,
    _says("SoftDeleting"),
    _budget(BUDGET),
)
STORIES = (PROVISION, HARD, SOFT)
