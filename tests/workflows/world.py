"""A cluster of a few facts: stand-in activities with the real names, for testing what workflows decide."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from models.conditions import Reason
from models.deletion_record import DeletionRecord
from models.deprovision import (
    AbandonedObject,
    ConfirmationInput,
    DeletionAssessment,
    HardDeleted,
    HardDeleteInput,
    ReleaseKind,
    Remaining,
    Removed,
    SoftDeleteResult,
    TeardownInput,
    TornDown,
)
from models.limits import Bounds, DeletionPolicy, Limits, OperandTeardown
from models.mandate import FinalizerRemoval, Mandate
from models.names import HELD_BY_US, MANDATE_LOST, NEWS, STILL_WAITING
from models.operator_input import OperatorInput
from models.operators import OperatorRef
from models.provision import Applied, Assessment, ChartInput, Contest, ReadyInput, Standing, Survey
from models.reclaim import Outcome, ReclaimConsent, ReclaimEnd, Round, RoundInput
from models.status import EventInput, StatusInput
from workflows.deprovision import DeprovisionWorkflow
from workflows.provision import ProvisionWorkflow
from workflows.reclaim import ReclaimWorkflow
from workflows.resync import ResyncWorkflow
from workflows.unknown import UnknownWorkflow

REF = OperatorRef(namespace="kyma-system", name="btpoperator", uid="0000-1111")
MANDATE = Mandate(cluster="2222-3333", ref=REF)


ONE_MINUTE = timedelta(minutes=1)


@dataclass
class World:
    """The facts, and a called of what was done."""

    assessment: Assessment = field(default_factory=lambda: Assessment(standing=Standing.RESPONSIBLE, claimed=True))
    survey_says: Survey = field(default_factory=Survey)
    apply_fails: ApplicationError | None = None
    contested: list[Contest] = field(default_factory=list)
    """What somebody changes back whenever it is applied."""
    on_apply: Callable[[], Awaitable[None]] | None = None
    operand_lost: bool = False
    restore_fails: ApplicationError | None = None
    on_restore: Callable[[], Awaitable[None]] | None = None
    refused: str = ""
    """The look or small write that a right is missing for."""
    refused_as: str = "Refused"
    on_refused: Callable[[int], None] = lambda times: None
    times_refused: int = 0
    ready: bool = True
    pod_troubles: list[str] = field(default_factory=list)
    """What keeps a pod from becoming ready, one after the other: each is news to a wait that was not told of it."""
    doubt: str = ""
    """Why the operand does not trust the token URL."""
    deaf_wait: asyncio.Event | None = None
    """The wait for readiness ends with this, and does not hear before that it was cancelled."""
    release: ReleaseKind = ReleaseKind.DEPROVISION
    older_vanishes: bool = False
    """The CR that was responsible goes right after a look found this one a spare."""
    instances: int = 0
    instances_go: bool = True
    hard_delete_fails: ApplicationError | None = None
    fails_times: int = 10**6
    """How many attempts of hard delete fail so."""
    confirmed: bool = False
    aside: str = ""
    """Why nothing may be done: another manager runs."""
    refused_before: bool = False
    record: DeletionRecord | None = None
    """What the CR says that its deletion has decided."""
    bounds: Bounds | None = None
    """What the worker's settings say about deletions."""
    count_is_lost: bool = False
    """The worker that saw objects go died before it said so; the next one finds nothing."""
    consent: bool = False
    """Secret sap-btp-reclaim is there."""
    reclaimed: list[str] = field(default_factory=list)
    removal_fails: ApplicationError | None = None
    late: int = 0
    """Instances with the operand's finalizer that turn up when soft delete is over: they hold their definition."""
    removal_waits: list[str] = field(default_factory=list)
    """What is waited for, one after the other: each ends an attempt, to be said."""
    removal_inputs: list[TeardownInput] = field(default_factory=list)
    removing: asyncio.Event = field(default_factory=asyncio.Event)
    let_removal_end: asyncio.Event | None = None
    away: bool = False
    """No answer comes from the API server to anything that takes long, until `returns` says how often it was asked."""
    returns: int = 10**6
    asked: int = 0
    on_look: Callable[[], None] = lambda: None
    on_hard_delete: Callable[[], None] = lambda: None
    on_status: Callable[[StatusInput], None] = lambda _: None
    """May refuse what is about to be written to the CR."""
    called: list[str] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
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
    async def assess_operator(self, mandate: Mandate) -> Assessment:
        self._ask("assess_operator")
        self.on_look()
        self.called.append("assess")
        return self.assessment

    @activity.defn
    async def add_finalizer(self, mandate: Mandate) -> bool:
        self._ask("add_finalizer")
        self.called.append("add finalizer")
        self.assessment = self.assessment.model_copy(update={"claimed": True})
        return True

    @activity.defn
    async def remove_finalizer(self, removal: FinalizerRemoval) -> bool:
        self._ask("remove_finalizer")
        if removal.as_spare and self.older_vanishes:
            self.older_vanishes = False
            self.release = ReleaseKind.DEPROVISION
            self.assessment = Assessment(standing=Standing.RESPONSIBLE, claimed=True)
            return True
        self.called.append("remove finalizer")
        return False

    @activity.defn
    async def assess_deletion(self, mandate: Mandate) -> DeletionAssessment:
        self._ask("assess_deletion")
        return DeletionAssessment(
            kind=self.release,
            record=self.record,
            confirmed=self.confirmed,
            refused=self.refused_before,
            aside=self.aside,
            bounds=self.bounds,
        )

    @activity.defn
    async def set_status(self, input: StatusInput) -> bool:
        self.on_status(input)
        self.record = input.deletion or self.record
        self.reasons.append(input.finding.reason)
        self.messages.append(input.finding.message)
        return True

    @activity.defn
    async def check_token_url(self, mandate: Mandate) -> str:
        self._ask("check_token_url")
        return self.doubt

    @activity.defn
    async def record_event(self, input: EventInput) -> None:
        self.called.append(f"event {input.reason}")
        self.events.append(f"{input.reason}: {input.message}")

    @activity.defn
    async def check_drift(self, input: ChartInput) -> Survey:
        self._ask("check_drift")
        self.called.append("check drift")
        return self.survey_says

    @activity.defn
    async def apply_chart(self, input: ChartInput) -> Applied:
        self.called.append("apply")
        self.applying.set()
        self._reach()
        try:
            while self.let_apply_end and not self.let_apply_end.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            await asyncio.sleep(self.stopping_takes)  # in the middle of a write
            self.called.append("apply stopped")
            raise
        if self.apply_fails:
            raise self.apply_fails
        if self.on_apply:
            await self.on_apply()
        return Applied(written=["ConfigMap c"], contested=self.contested)

    @activity.defn
    async def restore_operand(self, input: ChartInput) -> Applied:
        self.called.append("restore operand")
        if self.on_restore:
            await self.on_restore()
        if self.restore_fails:
            raise self.restore_fails
        lost, self.operand_lost = self.operand_lost, False
        return Applied(written=["Deployment kyma-system/operand"] if lost else [])

    @activity.defn
    async def wait_until_ready(self, input: ReadyInput) -> None:
        self.called.append("wait")
        self._reach()
        while self.deaf_wait and not self.deaf_wait.is_set():
            activity.heartbeat()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)
        if self.pod_troubles and input.told is not None:
            raise ApplicationError(self.pod_troubles.pop(0), None, type=NEWS, non_retryable=True)
        if not self.ready:
            raise still_waiting("Deployment kyma-system/operand: 0 of 1 pods are available", pause=20)

    @activity.defn
    async def count_service_objects(self, mandate: Mandate) -> Remaining:
        self._ask("count_service_objects")
        some = ["ServiceInstance ns/a"] if self.instances else []
        trouble = "does not exist" if self.operand_lost else ""
        lost = self.operand_lost
        return Remaining(instances=self.instances, some=some, operand_lost=lost, operand_trouble=trouble)

    @activity.defn
    async def wait_for_another_count(self, input: ConfirmationInput) -> Remaining:
        while self.instances == input.instances:
            activity.heartbeat()
            await asyncio.sleep(0.05)
        return Remaining(instances=self.instances)

    @activity.defn
    async def wait_until_alone(self, input: ChartInput) -> None:
        while self.aside:
            activity.heartbeat()
            await asyncio.sleep(0.05)

    @activity.defn
    async def hard_delete_service_objects(self, input: HardDeleteInput) -> HardDeleted:
        self.called.append("hard delete")
        self.hard_deleting.set()
        self._reach()
        self.on_hard_delete()
        try:
            while self.let_hard_delete_end and not self.let_hard_delete_end.is_set():
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.called.append("hard delete stopped")
            raise
        if self.hard_delete_fails and self.fails_times:
            self.fails_times -= 1
            raise self.hard_delete_fails
        if not self.instances_go:
            # Not a minute: this server confuses a retry with a cancellation that comes in the same moment.
            raise still_waiting(f"{self.instances} ServiceInstances left: ns/a", pause=45)
        gone, self.instances = self.instances, 0
        return HardDeleted(instances=0 if self.count_is_lost else gone, kept=self.kept)

    @activity.defn
    async def soft_delete_service_objects(self, input: TeardownInput) -> SoftDeleteResult:
        self.called.append("soft delete")
        self.because = input.because
        gone, self.instances = self.instances, 0
        left = [AbandonedObject(kind="ServiceInstance", namespace="ns", name="a", sap_id="1")] if gone else []
        return SoftDeleteResult(removed=Removed(instances=gone), abandoned_total=gone, abandoned=left)

    @activity.defn
    async def check_consent(self, mandate: Mandate) -> ReclaimConsent:
        self._ask("check_consent")
        return ReclaimConsent(given=self.consent, cluster_digest="digest")

    @activity.defn
    async def reclaim_round(self, input: RoundInput) -> Round:
        return Round(counts={Outcome.RECLAIMED: 1})

    @activity.defn
    async def end_reclaim(self, input: ReclaimEnd) -> None:
        self.reclaimed.append(input.message)

    @activity.defn
    async def remove_operand(self, input: TeardownInput) -> TornDown:
        self.called.append("remove operand")
        return TornDown(resources=3)

    @activity.defn
    async def remove_resources(self, input: TeardownInput) -> TornDown:
        self.called.append("remove resources")
        self.removing.set()
        self._reach()
        while self.let_removal_end and not self.let_removal_end.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)
        if self.removal_fails:
            raise self.removal_fails
        self.instances, self.late = self.instances + self.late, 0
        if self.instances:
            raise ApplicationError("ns/a holds it", None, Removed(resources=11), type=HELD_BY_US, non_retryable=True)
        self.removal_inputs.append(input)
        if self.removal_waits:
            wait, so_far = self.removal_waits.pop(0), Removed(resources=11)
            raise ApplicationError(wait, None, so_far, type=NEWS, non_retryable=True)
        return TornDown(resources=11)

    def _reach(self) -> None:
        """What takes long fails without an answer while the API server is away."""
        self.asked += 1
        if self.away and self.asked < self.returns:
            raise ApplicationError("the API server is away", None, type="Unavailable", next_retry_delay=ONE_MINUTE)

    def _ask(self, what: str) -> None:
        if self.refused == what:
            self.times_refused += 1
            self.on_refused(self.times_refused)
            raise ApplicationError(f"{what}: forbidden (403)", type=self.refused_as)

    def activities(self) -> list[Callable[..., Any]]:
        names = (
            "assess_operator",
            "add_finalizer",
            "remove_finalizer",
            "assess_deletion",
            "set_status",
            "check_token_url",
            "record_event",
            "check_drift",
            "apply_chart",
            "wait_until_ready",
            "count_service_objects",
            "restore_operand",
            "wait_for_another_count",
            "wait_until_alone",
            "hard_delete_service_objects",
            "soft_delete_service_objects",
            "check_consent",
            "reclaim_round",
            "end_reclaim",
            "remove_operand",
            "remove_resources",
        )
        return [getattr(self, name) for name in names]


@asynccontextmanager
async def serving(client: Client, world: World, *more: Callable[..., Any]) -> AsyncIterator[str]:
    """A worker with this world, and `more` activities, behind it, on a task queue of its own."""
    task_queue = f"test-{uuid.uuid4().hex[:8]}"
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[ProvisionWorkflow, DeprovisionWorkflow, ResyncWorkflow, ReclaimWorkflow, UnknownWorkflow],
        activities=[*world.activities(), *more],
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


def an_input(
    teardown: OperandTeardown = OperandTeardown.AUTO,
    deletion: DeletionPolicy = DeletionPolicy.CASCADE,
    **limits: Any,
) -> OperatorInput:
    return OperatorInput(mandate=MANDATE, limits=Limits(**limits), operand_teardown=teardown, deletion=deletion)


def refused(reason: Reason, message: str) -> ApplicationError:
    return ApplicationError(message, type=reason.value, non_retryable=True)


def lost(why: str, removed: int = 0) -> ApplicationError:
    """As an activity ends whose CR no longer asks for it, after it removed so many instances."""
    return ApplicationError(why, Removed(instances=removed), type=MANDATE_LOST, non_retryable=True)


def still_waiting(message: str, pause: float) -> ApplicationError:
    """As an attempt ends that the API server answered all along."""
    delay, answered = timedelta(seconds=pause), datetime.now(UTC) + timedelta(days=1)
    return ApplicationError(message, answered, type=STILL_WAITING, next_retry_delay=delay)
