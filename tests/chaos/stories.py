"""The three stories that faults are tried on, each with a beginning, an end, and an end state that can be compared."""

from collections.abc import Callable
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
    budget: float = 120.0


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


PROVISION = Story(
    "provisioning",
    _credentials,
    _create,
    lambda scene: scene.state() == "Ready",
)
HARD = Story("hard deprovisioning", _in_use, _delete, _is_gone)
SOFT = Story("soft deprovisioning", _in_use_without_operand, _delete, _is_gone, BUDGET)
STORIES = (PROVISION, HARD, SOFT)
