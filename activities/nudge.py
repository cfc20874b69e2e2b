"""Tells a CR's workflow to look again, or starts it: one request, so there is no race between the two."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from kube.client import Kube
from kube.resources import BTP_OPERATORS
from models.names import DELETION_REQUESTED, DEPROVISION_WORKFLOW, LOOK_AGAIN, PROVISION_WORKFLOW
from models.operators import Operator, OperatorRef
from models.workflow_io import Limits, OperandTeardown, OperatorInput, ResyncInput, ResyncResult

DEFAULT_TASK_QUEUE: Final = "btp-manager"
STATE_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorState")
NAMESPACE_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorNamespace")
NAME_ATTRIBUTE: Final = SearchAttributeKey.for_keyword("BtpOperatorName")
TASK_TIMEOUT: Final = timedelta(seconds=5)
"""A worker that died with a workflow task in its hands is noticed after this."""
SEARCH_ATTRIBUTES: Final = (STATE_ATTRIBUTE, NAMESPACE_ATTRIBUTE, NAME_ATTRIBUTE)


@dataclass(frozen=True)
class Nudger:
    """Starts or signals the one workflow of a CR."""

    client: Client
    task_queue: str
    limits: Limits
    operand_teardown: OperandTeardown

    async def nudge(self, ref: OperatorRef, deleting: bool) -> None:
        """Signal-with-start under the CR's one id. What runs already gets the signal, of whichever type it is."""
        await self.client.start_workflow(
            DEPROVISION_WORKFLOW if deleting else PROVISION_WORKFLOW,
            OperatorInput(ref=ref, limits=self.limits, operand_teardown=self.operand_teardown),
            id=workflow_id(ref, self.task_queue),
            task_queue=self.task_queue,
            task_timeout=TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=DELETION_REQUESTED if deleting else LOOK_AGAIN,
            search_attributes=TypedSearchAttributes(
                [
                    SearchAttributePair(NAMESPACE_ATTRIBUTE, ref.namespace),
                    SearchAttributePair(NAME_ATTRIBUTE, ref.name),
                ]
            ),
            static_summary=f"{'Remove' if deleting else 'Provide'} BtpOperator {ref}",
        )


def workflow_id(ref: OperatorRef, task_queue: str) -> str:
    """One id for a CR's whole life. Temporal allows one open workflow with it: that is the lock.

    A task queue of another name belongs to another cluster of a fleet, and prefixes the id.
    """
    prefix = "" if task_queue == DEFAULT_TASK_QUEUE else f"{task_queue}/"
    return f"{prefix}btpoperator/{ref.namespace}/{ref.name}/{ref.uid}"


class ResyncActivities:
    """The backstop: what a lost trigger would have said."""

    def __init__(self, kube: Kube, client: Client, task_queue: str) -> None:
        self._kube = kube
        self._client = client
        self._task_queue = task_queue

    @activity.defn
    async def nudge_all(self, input: ResyncInput) -> ResyncResult:
        """Nudge every BtpOperator of the cluster."""
        nudger = Nudger(self._client, self._task_queue, input.limits, input.operand_teardown)
        nudged = 0
        async for page, _ in self._kube.pages(BTP_OPERATORS):
            for obj in page:
                operator = Operator.from_object(obj)
                await nudger.nudge(operator.ref, operator.deleting)
                nudged += 1
                activity.heartbeat(nudged)
        return ResyncResult(nudged=nudged)
