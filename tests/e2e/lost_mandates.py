"""Where a run stands, how its CR stops asking for what it does, and how soon it ends: told by Temporal's history."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from dispatch.names import default_task_queue, workflow_id
from kube.resources import BTP_OPERATORS, CONFIG_MAPS, DEPLOYMENTS
from localcluster.faults import WRITES, Fault
from models.mandate import Mandate
from models.names import FINALIZER, KYMA_NAMESPACE, OPERAND_CONFIG, OPERAND_DEPLOYMENT
from tests.e2e.deletion import Scene

GROWN: Final = 6
"""Attempts after which the pause between them does not grow any more."""
THEIRS: Final = "example.com/keeps"
"""Somebody else's finalizer."""
MERGE: Final = "application/merge-patch+json"
OPERATOR: Final = BTP_OPERATORS.path(KYMA_NAMESPACE, "btpoperator")


def finalizers(scene: Scene, path: str, names: list[str]) -> None:
    scene.environment.cluster.request("PATCH", path, {"metadata": {"finalizers": names}}, MERGE)


def thaw(scene: Scene) -> None:
    for trigger in scene.environment.triggers:
        assert trigger.process is not None
        trigger.process.thaw()


def freeze(scene: Scene) -> None:
    for trigger in scene.environment.triggers:
        assert trigger.process is not None
        trigger.process.freeze()


class Stalls:
    """How long the machine kept a process waiting that wanted to run: other people's work, which is no behaviour."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._count)

    def _count(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(0.05)
            self.seconds += time.monotonic() - began - 0.05

    def __enter__(self) -> "Stalls":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def delete(scene: Scene) -> None:
    """Of a CR that somebody else keeps, too: a finalizer cannot be added afterwards."""
    finalizers(scene, OPERATOR, [FINALIZER, THEIRS])
    scene.person.delete_operator("btpoperator")


def hang(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 1})
    assert scene.operand is not None
    scene.operand.kill()
    delete(scene)
    scene.says("HardDeleting", "1 ServiceBinding and 1 ServiceInstance left", "soft delete follows")


def in_hard_delete(scene: Scene) -> str:
    """The operand is dead, so service objects are waited for."""
    hang(scene)
    return "hard_delete_service_objects"


def between_attempts_of_hard_delete(scene: Scene) -> str:
    """What is left cannot be listed, so one attempt after the other fails."""
    hang(scene)
    scene.environment.proxy.add(Fault(("GET",), "/servicebindings", watch=False, status=500))
    scene.restart(scene.environment.workers[0])  # a new attempt, which has to list
    return "hard_delete_service_objects"


def between_attempts_of_restoring(scene: Scene) -> str:
    """The operand is lost, and cannot be put back."""
    scene.ready()
    scene.make({"team-a": 1})
    assert scene.operand is not None
    scene.operand.kill()
    scene.environment.proxy.add(Fault(WRITES, f"/deployments/{OPERAND_DEPLOYMENT}", status=500))
    scene.person.delete(DEPLOYMENTS.path(KYMA_NAMESPACE, OPERAND_DEPLOYMENT))
    delete(scene)
    scene.until(lambda: scene.reason() == "HardDeleting", "hard delete to begin")
    return "restore_operand"


def in_removal_of_the_operand(scene: Scene) -> str:
    """Its pod does not stop, for nobody stops it."""
    scene.ready()
    scene.environment.cluster.stop_node()
    delete(scene)
    return "remove_operand"


def between_attempts_of_removal(scene: Scene) -> str:
    """A webhook configuration cannot be deleted, so one attempt after the other fails."""
    scene.ready()
    scene.environment.proxy.add(Fault(("DELETE",), "/validatingwebhookconfigurations/", status=500))
    delete(scene)
    return "remove_operand"


def between_attempts_of_soft_delete(scene: Scene) -> str:
    """No finalizer can be taken off."""
    hang(scene)
    scene.environment.proxy.add(Fault(("PATCH",), "/servicebindings/", status=500))
    return "soft_delete_service_objects"


def in_removal_of_the_rest(scene: Scene) -> str:
    """An object of the chart is kept by somebody else's finalizer."""
    scene.ready()
    finalizers(scene, CONFIG_MAPS.path(KYMA_NAMESPACE, OPERAND_CONFIG), [THEIRS])
    delete(scene)
    return "remove_resources"


def finalizer_stripped(scene: Scene) -> str:
    finalizers(scene, OPERATOR, [])
    return "BtpOperator kyma-system/btpoperator is gone"


def finalizer_stripped_of_a_cr_that_others_keep(scene: Scene) -> str:
    finalizers(scene, OPERATOR, [THEIRS])
    return "our finalizer was removed from BtpOperator kyma-system/btpoperator"


def made_again(scene: Scene) -> str:
    """Between two looks, or after one that saw it gone."""
    finalizers(scene, OPERATOR, [])
    scene.person.create_operator("btpoperator")
    return "BtpOperator kyma-system/btpoperator (was deleted and created again|is gone)"


def another_one_is_responsible(scene: Scene) -> str:
    """An older one, which somebody gives our finalizer."""
    scene.person.create_operator("older")
    long_ago = {"creationTimestamp": "2020-01-01T00:00:00Z"}
    scene.environment.cluster.etcd.change(
        BTP_OPERATORS, KYMA_NAMESPACE, "older", lambda obj: obj["metadata"].update(long_ago)
    )
    finalizers(scene, BTP_OPERATORS.path(KYMA_NAMESPACE, "older"), [FINALIZER])
    return "BtpOperator kyma-system/older is responsible for the operand"


def no_longer_being_deleted(scene: Scene) -> str:
    """As after the restoring of a backup: no request to the API server takes a deletion back."""

    def revive(obj: dict[str, Any]) -> None:
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            obj["metadata"].pop(key)

    scene.environment.cluster.etcd.change(BTP_OPERATORS, KYMA_NAMESPACE, "btpoperator", revive)
    return "BtpOperator kyma-system/btpoperator is not being deleted"


def between_attempts_of_applying(scene: Scene) -> str:
    scene.environment.proxy.add(Fault(WRITES, f"/deployments/{OPERAND_DEPLOYMENT}", status=500))
    return "apply_chart"


def in_the_wait_for_readiness(scene: Scene) -> str:
    scene.environment.cluster.stop_node()
    return "wait_until_ready"


class Run:
    """The run of the CR, in Temporal."""

    def __init__(self, temporal: Temporal, mandate: Mandate) -> None:
        self._temporal = temporal
        self._id = workflow_id(mandate, default_task_queue(mandate.cluster))

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self._temporal.get_workflow_handle(self._id)

    async def is_at(self, activity: str, paused: bool) -> bool:
        """Whether the activity runs, or waits for another attempt after so many that its pauses are the longest."""
        described = await self.handle.describe()
        for pending in described.raw_description.pending_activities:
            if pending.activity_type.name == activity:
                waits = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
                return (waits and pending.attempt > GROWN) if paused else not waits
        return False

    async def reach(self, activity: str, paused: bool) -> None:
        async with asyncio.timeout(100):
            while not await self.is_at(activity, paused):
                await asyncio.sleep(0.05)

    async def end(self) -> datetime:
        """When it ended."""
        async with asyncio.timeout(60):
            while (ended := (await self.handle.describe()).close_time) is None:
                await asyncio.sleep(0.1)
        return ended


async def connect(scene: Scene) -> Temporal:
    return await Temporal.connect(scene.environment.temporal.address, data_converter=pydantic_data_converter)


Phase = Callable[[Scene], str]
Loss = Callable[[Scene], str]
PHASES: Final[list[Phase]] = [
    in_hard_delete,
    between_attempts_of_hard_delete,
    between_attempts_of_restoring,
    in_removal_of_the_operand,
    between_attempts_of_removal,
    between_attempts_of_soft_delete,
    in_removal_of_the_rest,
]
LOSSES: Final[list[Loss]] = [
    finalizer_stripped,
    made_again,
    another_one_is_responsible,
    no_longer_being_deleted,
]
"""The other one is tried in every phase: the CR stays, and so nobody is told of it but whoever looks."""
