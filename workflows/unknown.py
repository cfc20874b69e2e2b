"""What was started with a type that no workflow here has ends in words, instead of failing its task for ever."""

from collections.abc import Sequence
from typing import Final

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from models.names import DEPROVISION_WORKFLOW, PROVISION_WORKFLOW, RECLAIM_WORKFLOW, RESYNC_WORKFLOW
    from models.text import plain

KNOWN: Final = ", ".join((PROVISION_WORKFLOW, DEPROVISION_WORKFLOW, RECLAIM_WORKFLOW, RESYNC_WORKFLOW))


@workflow.defn(dynamic=True)
class UnknownWorkflow:
    """Stands for every other type."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        known = plain(workflow.info().workflow_type)
        message = f"no workflow here is of type {known}; there are {KNOWN}"
        raise ApplicationError(message, type="UnknownWorkflowType", non_retryable=True)
