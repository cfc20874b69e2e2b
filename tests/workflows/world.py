"""A cluster of a few facts: stand-in activities with the real names, for testing what workflows decide."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.progress import permanent, still_waiting
from kube.errors import Refused
from models.conditions import Reason
from models.deprovision import (
    AbandonedObject,
    HardDeleted,
    HardDeleteInput,
    ReleaseKind,
    Remaining,
    Removed,
    SoftDeleteResult,
    TeardownInput,
)
from models.limits import Limits, OperandTeardown
from models.operator_input import OperatorInput
from models.operators import OperatorRef
from models.provision import Applied, Assessment, ChartInput, ReadyInput, Standing, Survey
from models.status import StatusInput, WarningInput
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow
from workflows.resync import ResyncWorkflow

REF = OperatorRef(namespace="kyma-system", name="btpoperator", uid="0000-1111")


@dataclass
class World:
    """The facts, and a diary of what was done."""

    assessment: Assessment = field(default_factory=lambda: Assessment(standing=Standing.RESPONSIBLE, claimed=True))
    survey_says: Survey = field(default_factory=Survey)
    apply_fails: ApplicationError | None = None
    operand_lost: bool = False
    restore_fails: ApplicationError | None = None
    refused: str = ""
    """The look or small write that a right is missing for."""
    ready: bool = True
    release: ReleaseKind = ReleaseKind.DEPROVISION
    instances: int = 0
    instances_go: bool = True
    hard_delete_fails: ApplicationError | None = None
    count_is_lost: bool = False
    """The worker that saw objects go died before it said so; the next one finds nothing."""
    removal_fails: ApplicationError | None = None
    on_look: Callable[[], None] = lambda: None
    diary: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    applying: asyncio.Event = field(default_factory=asyncio.Event)
    let_apply_end: asyncio.Event | None = None
    stopping_takes: float = 0.1
    because: str = ""
    """Why soft delete was begun."""
    hard_deleting: asyncio.Event = field(default_factory=asyncio.Event)
    let_hard_delete_end: asyncio.Event | None = None
    kept: list[str] = field(default_factory=list)
    """Objects that only finalizers of others keep."""

    @activity.defn
    async def assess(self, ref: OperatorRef) -> Assessment:
        self._ask("assess")
        self.on_look()
        self.diary.append("assess")
        return self.assessment

    @activity.defn
    async def claim(self, ref: OperatorRef) -> bool:
        self._ask("claim")
        self.diary.append("claim")
        self.assessment = self.assessment.model_copy(update={"claimed": True})
        return True

    @activity.defn
    async def disclaim(self, ref: OperatorRef) -> None:
        self._ask("disclaim")
        self.diary.append("disclaim")

    @activity.defn
    async def release_kind(self, ref: OperatorRef) -> ReleaseKind:
        self._ask("release_kind")
        return self.release

    @activity.defn
    async def set_status(self, input: StatusInput) -> bool:
        self.reasons.append(input.finding.reason)
        self.messages.append(input.finding.message)
        return True

    @activity.defn
    async def warn(self, input: WarningInput) -> None:
        self.diary.append(f"warn {input.reason}")

    @activity.defn
    async def survey(self, input: ChartInput) -> Survey:
        self._ask("survey")
        self.diary.append("survey")
        return self.survey_says

    @activity.defn
    async def apply_chart(self, input: ChartInput) -> Applied:
        self.diary.append("apply")
        self.applying.set()
        try:
            while self.let_apply_end and not self.let_apply_end.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await asyncio.sleep(self.stopping_takes)  # in the middle of a write
            self.diary.append("apply stopped")
            raise
        if self.apply_fails:
            raise self.apply_fails
        return Applied(chart_version="1", written=["ConfigMap c"])

    @activity.defn
    async def restore_operand(self, input: ChartInput) -> Applied:
        self.diary.append("restore operand")
        if self.restore_fails:
            raise self.restore_fails
        lost, self.operand_lost = self.operand_lost, False
        return Applied(chart_version="1", written=["Deployment kyma-system/operand"] if lost else [])

    @activity.defn
    async def wait_ready(self, input: ReadyInput) -> None:
        self.diary.append("wait")
        if not self.ready:
            raise still_waiting("Deployment kyma-system/operand: 0 of 1 pods are available", pause=20)

    @activity.defn
    async def remaining(self, ref: OperatorRef) -> Remaining:
        self._ask("remaining")
        some = ["ServiceInstance ns/a"] if self.instances else []
        trouble = "does not exist" if self.operand_lost else ""
        lost = self.operand_lost
        return Remaining(instances=self.instances, some=some, operand_lost=lost, operand_trouble=trouble)

    @activity.defn
    async def hard_delete(self, input: HardDeleteInput) -> HardDeleted:
        self.diary.append("hard delete")
        self.hard_deleting.set()
        while self.let_hard_delete_end and not self.let_hard_delete_end.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)
        if self.hard_delete_fails:
            raise self.hard_delete_fails
        if not self.instances_go:
            raise still_waiting(f"{self.instances} ServiceInstances left: ns/a", pause=60)
        gone, self.instances = self.instances, 0
        return HardDeleted(instances=0 if self.count_is_lost else gone, kept=self.kept)

    @activity.defn
    async def soft_delete(self, input: TeardownInput) -> SoftDeleteResult:
        self.diary.append("soft delete")
        self.because = input.because
        gone, self.instances = self.instances, 0
        left = [AbandonedObject(kind="ServiceInstance", namespace="ns", name="a", sap_id="1")] if gone else []
        return SoftDeleteResult(removed=Removed(instances=gone), abandoned_total=gone, abandoned=left)

    @activity.defn
    async def remove_operand(self, input: TeardownInput) -> Removed:
        self.diary.append("remove operand")
        return Removed(resources=3)

    @activity.defn
    async def remove_resources(self, input: TeardownInput) -> Removed:
        self.diary.append("remove resources")
        if self.removal_fails:
            raise self.removal_fails
        return Removed(resources=11)

    def _ask(self, what: str) -> None:
        if self.refused == what:
            raise Refused(f"{what}: forbidden (403)", status=403)

    def activities(self) -> list[Callable[..., Any]]:
        names = (
            *("assess", "claim", "disclaim", "release_kind", "set_status", "warn", "survey", "apply_chart"),
            *("wait_ready", "remaining", "restore_operand", "hard_delete", "soft_delete"),
            *("remove_operand", "remove_resources"),
        )
        return [getattr(self, name) for name in names]


@asynccontextmanager
async def serving(client: Client, world: World) -> AsyncIterator[str]:
    """A worker with this world behind it, on a task queue of its own."""
    task_queue = f"test-{uuid.uuid4().hex[:8]}"
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[ProvisionWorkflow, DeprovisionWorkflow, ResyncWorkflow],
        activities=world.activities(),
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=timedelta(milliseconds=200),  # cancellations travel with heartbeats
        default_heartbeat_throttle_interval=timedelta(milliseconds=200),
    ):
        yield task_queue


async def runs_of(client: Client, identity: str) -> list[WorkflowExecution]:
    """All runs under an id, which have ended; the list of workflows learns that a moment after the last result."""
    while True:
        runs = [run async for run in client.list_workflows(f"WorkflowId = '{identity}'")]
        if runs and WorkflowExecutionStatus.RUNNING not in {run.status for run in runs}:
            return runs
        await asyncio.sleep(0.05)


def an_input(teardown: OperandTeardown = OperandTeardown.AUTO, **limits: Any) -> OperatorInput:
    return OperatorInput(ref=REF, limits=Limits(**limits), operand_teardown=teardown)


def refused(reason: Reason, message: str) -> ApplicationError:
    return permanent(reason, message)
