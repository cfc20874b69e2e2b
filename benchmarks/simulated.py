"""A cluster that is a few facts in memory: the real workflows run on it, so that one machine carries hundreds.

What its activities answer is what those of a healthy cluster answer, after about as long. Nothing here tells how fast a
cluster is; it is for the load that a fleet puts on a Temporal server.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from dispatch.names import default_task_queue
from dispatch.nudger import Nudger
from models.conditions import MEANING, Reason
from models.deletion_record import DeletionRecord
from models.deprovision import (
    DeletionAssessment,
    HardDeleted,
    HardDeleteInput,
    ReleaseKind,
    Remaining,
    SoftDeleteResult,
    TeardownInput,
    TornDown,
)
from models.limits import Limits, OperandTeardown
from models.mandate import FinalizerRemoval, Mandate
from models.operators import OperatorRef
from models.provision import Applied, Assessment, ChartInput, ReadyInput, Standing, Survey
from models.resync import ResyncInput, ResyncResult
from models.status import EventInput, StatusInput
from worker.__main__ import worker_with

APPLYING: Final = 0.2
STARTING: Final = 6.0
"""Seconds until pods are ready, as on a node that has the image."""
DELETING: Final = 20.0
"""Seconds until the operand has deleted a cluster's service objects."""
INSTANCES: Final = 20


class SimulatedCluster:
    """One BtpOperator, and when what happened to it."""

    def __init__(self, client: Client) -> None:
        self.cluster = str(uuid.uuid4())
        self.task_queue = default_task_queue(self.cluster)
        self.ref = OperatorRef(namespace="kyma-system", name="btpoperator", uid=str(uuid.uuid4()))
        self._client = client
        self._applied = self._claimed = self.deleting = self.gone = False
        self._instances = INSTANCES
        self._reason: Reason | None = None
        self._record: DeletionRecord | None = None
        self.event_at = self.looked_at = self.settled_at = 0.0
        """By the monotonic clock: the last event, the first look after it, and the end of what it asked for."""

    async def happens(self) -> None:
        """Something changes on the CR: what the trigger does then."""
        self.event_at, self.looked_at, self.settled_at = time.monotonic(), 0.0, 0.0
        await self._nudger().nudge(self.ref, self.deleting)

    def worker(self, executor: ThreadPoolExecutor) -> Worker:
        """A worker with the real workflows and the real worker's options."""
        return worker_with(self._client, self.task_queue, self._activities(), executor)

    def _nudger(self) -> Nudger:
        return Nudger(
            client=self._client,
            task_queue=self.task_queue,
            cluster=self.cluster,
            limits=Limits(),
            operand_teardown=OperandTeardown.AUTO,
        )

    def _activities(self) -> list[Callable[..., Any]]:
        return [
            self.assess_operator,
            self.add_finalizer,
            self.remove_finalizer,
            self.assess_deletion,
            self.set_status,
            self.check_token_url,
            self.record_event,
            self.check_drift,
            self.apply_chart,
            self.restore_operand,
            self.wait_until_ready,
            self.count_service_objects,
            self.hard_delete_service_objects,
            self.soft_delete_service_objects,
            self.remove_operand,
            self.remove_resources,
            self.nudge_operators,
        ]

    def _look(self) -> None:
        self.looked_at = self.looked_at or time.monotonic()

    @activity.defn
    async def assess_operator(self, mandate: Mandate) -> Assessment:
        self._look()
        standing = Standing.GONE if self.gone else Standing.DELETING if self.deleting else Standing.RESPONSIBLE
        return Assessment(standing=standing, claimed=self._claimed, reason=self._reason)

    @activity.defn
    async def add_finalizer(self, mandate: Mandate) -> bool:
        self._claimed = True
        return True

    @activity.defn
    async def remove_finalizer(self, removal: FinalizerRemoval) -> bool:
        self._claimed = False
        if self.deleting:
            self.gone, self.settled_at = True, time.monotonic()
        return False

    @activity.defn
    async def assess_deletion(self, mandate: Mandate) -> DeletionAssessment:
        self._look()
        return DeletionAssessment(kind=ReleaseKind.GONE if self.gone else ReleaseKind.DEPROVISION, record=self._record)

    @activity.defn
    async def set_status(self, input: StatusInput) -> bool:
        self._record = input.deletion or self._record
        self._reason = input.finding.reason
        if MEANING[self._reason].state.value == "Ready":
            self.settled_at = time.monotonic()
        return True

    @activity.defn
    async def check_token_url(self, mandate: Mandate) -> str:
        return ""

    @activity.defn
    async def record_event(self, input: EventInput) -> None:
        pass

    @activity.defn
    async def check_drift(self, input: ChartInput) -> Survey:
        return Survey()

    @activity.defn
    async def apply_chart(self, input: ChartInput) -> Applied:
        await asyncio.sleep(APPLYING)
        written, self._applied = [] if self._applied else ["Deployment operand"], True
        return Applied(written=written)

    @activity.defn
    async def restore_operand(self, input: ChartInput) -> Applied:
        return Applied()

    @activity.defn
    async def wait_until_ready(self, input: ReadyInput) -> None:
        await _beating(STARTING)

    @activity.defn
    async def count_service_objects(self, mandate: Mandate) -> Remaining:
        return Remaining(instances=self._instances)

    @activity.defn
    async def hard_delete_service_objects(self, input: HardDeleteInput) -> HardDeleted:
        await _beating(DELETING)
        deleted, self._instances = self._instances, 0
        return HardDeleted(instances=deleted)

    @activity.defn
    async def soft_delete_service_objects(self, input: TeardownInput) -> SoftDeleteResult:
        return SoftDeleteResult()

    @activity.defn
    async def remove_operand(self, input: TeardownInput) -> TornDown:
        return TornDown()

    @activity.defn
    async def remove_resources(self, input: TeardownInput) -> TornDown:
        await asyncio.sleep(APPLYING)
        self._applied = False
        return TornDown(resources=20)

    @activity.defn
    async def nudge_operators(self, input: ResyncInput) -> ResyncResult:
        if not self.gone:
            await self.happens()
        return ResyncResult(nudged=1)


async def _beating(seconds: float) -> None:
    """Wait, with the heartbeats of the real activity."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        activity.heartbeat("waiting")
        await asyncio.sleep(0.5)
