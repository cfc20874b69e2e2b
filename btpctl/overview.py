"""How every BtpOperator stands, from the CRs and from the workflows that run for them."""

import asyncio
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from btpctl.connections import Cluster
from btpctl.errors import CommandError, NoAnswer, answered, of_workflow
from btpctl.options import Options
from kube.resources import BTP_OPERATORS
from kube.side_by_side import side_by_side
from models.conditions import ready_condition
from models.operators import Operator
from models.status import ProgressReport

AT_ONCE: Final = 16
"""CRs whose workflows are asked side by side."""
NO_WORKER: Final = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.FAILED_PRECONDITION)
"""How Temporal says that nobody has answered a query; the last, that nobody will."""


@dataclass(frozen=True)
class Overview:
    """One CR, and what is being done for it."""

    name: str
    state: str
    reason: str
    message: str
    age_seconds: int
    deleting: bool
    workflow_id: str
    workflow: str = ""
    """Type of the workflow that runs now; empty when nothing has to be done."""
    waits_for: str = ""
    last_failure: str = ""
    """Of the pending activity: an attempt that has not reached its goal, or an error."""
    attempt: int = 0
    budget_left_seconds: int | None = None
    """Until hard delete gives up."""
    held_for_seconds: int | None = None
    """Until a hold of the budget ends by itself."""
    trouble: str = ""
    """Why this is not all that there is to say: who did not answer."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def operators(here: Cluster, options: Options) -> list[Operator]:
    """All CRs, the responsible one first; with a namespace among the options, only those in it.

    Raises:
        CommandError: they cannot be read.
    """
    listing = await answered(here.kube.list(BTP_OPERATORS, options.namespace or None), here.who, options.timeout)
    return sorted((Operator.from_object(obj) for obj in listing.items), key=lambda each: each.created)


async def find(here: Cluster, options: Options, name: str) -> Operator:
    """The CR called `namespace/name`, or `name` if there is only one of that name; without a name the only one.

    Raises:
        CommandError: there is none, or more than one.
    """
    known = await operators(here, options)
    found = [each for each in known if name in ("", str(each.ref), each.ref.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(each.ref) for each in known)
    called = f"is called {name}" if name else "is there"
    there = f"; there are: {names}" if known else "; none is there" if name else ""
    raise CommandError(f"{'no' if not found else 'more than one'} BtpOperator {called}{there}")


async def overviews(
    here: Cluster, client: Client | None, options: Options, name: str = ""
) -> tuple[list[Overview], CommandError | None]:
    """How each CR stands now, or the one of that name, and the first trouble with a workflow.

    Without a client, what the cluster alone says.
    """
    found = [await find(here, options, name)] if name else await operators(here, options)

    async def look(operator: Operator) -> tuple[Overview, CommandError | None]:
        seen = _in_cluster(operator, here.workflow_id(operator.ref))
        if client is None:
            return seen, None
        seen, trouble = await with_workflow(seen, client.get_workflow_handle(seen.workflow_id), options.timeout)
        if trouble is None:
            return seen, None
        return replace(seen, trouble=str(trouble)), type(trouble)(f"{seen.name}: {trouble}")

    looked = await side_by_side(look, found, AT_ONCE)
    return [each for each, _ in looked], next((trouble for _, trouble in looked if trouble), None)


def _in_cluster(operator: Operator, identity: str) -> Overview:
    condition = ready_condition(operator.status)
    return Overview(
        name=str(operator.ref),
        state=str((operator.status or {}).get("state") or ""),
        reason=str(condition.get("reason") or ""),
        message=str(condition.get("message") or ""),
        age_seconds=int((datetime.now(UTC) - operator.created).total_seconds()),
        deleting=operator.deleting,
        workflow_id=identity,
    )


async def with_workflow(
    seen: Overview, handle: WorkflowHandle[Any, Any], seconds: float
) -> tuple[Overview, CommandError | None]:
    """The same, with what Temporal and a worker say, and why that is not all."""
    try:
        async with asyncio.timeout(seconds):
            description = await handle.describe()
    except TimeoutError:
        return seen, NoAnswer(f"Temporal did not answer within {seconds:g} s")
    except TemporalError as error:
        unknown = isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
        return seen, None if unknown else of_workflow(error)
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return seen, None
    seen = replace(seen, workflow=description.workflow_type)
    for pending in description.raw_description.pending_activities:
        seen = replace(seen, last_failure=pending.last_failure.message, attempt=pending.attempt)
    try:
        async with asyncio.timeout(seconds):
            progress: ProgressReport = await handle.query("progress", result_type=ProgressReport)
    except (TimeoutError, TemporalError) as error:
        if isinstance(error, TemporalError) and not (isinstance(error, RPCError) and error.status in NO_WORKER):
            return seen, of_workflow(error)
        failed = description.raw_description.pending_workflow_task.attempt - 1
        return seen, NoAnswer(
            f"the workflow's code has failed {failed} times; the worker's log says why"
            if failed > 0
            else f"no worker answered within {seconds:g} s; `btpctl doctor` says whether one runs"
        )
    seen = replace(
        seen,
        waits_for=progress.message,
        budget_left_seconds=_until(progress.budget_ends),
        held_for_seconds=_until(progress.held_until),
    )
    return seen, None


def _until(end: datetime | None) -> int | None:
    return max(int((end - datetime.now(UTC)).total_seconds()), 0) if end else None
