"""Tells a CR's workflow to look again, or starts it: one request, so there is no race between the two."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from dispatch.names import workflow_id
from dispatch.search_attributes import NAME_ATTRIBUTE, NAMESPACE_ATTRIBUTE
from models.limits import DeletionPolicy, Limits, OperandTeardown
from models.mandate import Mandate
from models.names import DELETION_REQUESTED, DEPROVISION_WORKFLOW, LOOK_AGAIN, PROVISION_WORKFLOW
from models.operator_input import OperatorInput
from models.operators import OperatorRef
from models.text import plain

TASK_TIMEOUT: Final = timedelta(seconds=5)
"""A worker that died with a workflow task in its hands is noticed after this."""


@dataclass(frozen=True)
class Nudger:
    """Starts or signals the one workflow of a CR."""

    client: Client
    task_queue: str
    cluster: str
    """The uid of the cluster's Namespace kube-system."""
    limits: Limits
    operand_teardown: OperandTeardown
    listed: bool = True
    """Whether the namespace has our search attributes; a start with an unknown one is refused."""
    deletion: DeletionPolicy = DeletionPolicy.CASCADE

    async def nudge(self, ref: OperatorRef, deleting: bool) -> None:
        """Signal-with-start under the CR's one id. What runs already gets the signal, of whichever type it is."""
        mandate = Mandate(cluster=self.cluster, ref=ref)
        await self.client.start_workflow(
            DEPROVISION_WORKFLOW if deleting else PROVISION_WORKFLOW,
            OperatorInput(
                mandate=mandate,
                limits=self.limits,
                operand_teardown=self.operand_teardown,
                deletion=self.deletion,
            ),
            id=workflow_id(mandate, self.task_queue),
            task_queue=self.task_queue,
            task_timeout=TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=DELETION_REQUESTED if deleting else LOOK_AGAIN,
            search_attributes=_attributes(ref) if self.listed else None,
            static_summary=f"{'Remove' if deleting else 'Provide'} BtpOperator {ref}",
        )

    async def squatter(self, ref: OperatorRef) -> str:
        """What runs under the CR's id in place of its workflow, in words: signals to it reach nobody. Usually nothing.

        Whoever may start workflows can take an id, and with it the lock of a CR.
        """
        identity = workflow_id(Mandate(cluster=self.cluster, ref=ref), self.task_queue)
        try:
            found = await self.client.get_workflow_handle(identity).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return ""
        ours = found.workflow_type in (PROVISION_WORKFLOW, DEPROVISION_WORKFLOW) and found.task_queue == self.task_queue
        if ours or found.status is not WorkflowExecutionStatus.RUNNING:
            return ""
        kind, queue = plain(found.workflow_type, 60), plain(found.task_queue, 60)
        return f"workflow {identity} is a {kind!r} on task queue {queue!r}, and keeps the CR's own from running; end it"

    async def report_gone(self, ref: OperatorRef) -> None:
        """Have the run of a CR that is gone look again, if one is open: it ends then. None is started."""
        handle = self.client.get_workflow_handle(workflow_id(Mandate(cluster=self.cluster, ref=ref), self.task_queue))
        try:
            await handle.signal(LOOK_AGAIN)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


def _attributes(ref: OperatorRef) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [SearchAttributePair(NAMESPACE_ATTRIBUTE, ref.namespace), SearchAttributePair(NAME_ATTRIBUTE, ref.name)]
    )
