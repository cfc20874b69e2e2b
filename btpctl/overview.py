"""How every BtpOperator stands, from the CRs and from the workflows that run for them."""

import asyncio
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from btpctl.connections import Cluster
from btpctl.errors import CommandError, answered, of_temporal
from btpctl.options import Options
from kube.resources import BTP_OPERATORS
from models.conditions import ready_condition
from models.operators import Operator
from models.status import ProgressReport

AT_ONCE: Final = 16
"""CRs whose workflows are asked side by side."""


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
    names = ", ".join(str(each.ref) for each in known) or "none"
    called = f"is called {name}" if name else "is there"
    raise CommandError(f"{'no' if not found else 'more than one'} BtpOperator {called}; there are: {names}")


async def overviews(here: Cluster, client: Client | None, options: Options, name: str = "") -> list[Overview]:
    """How each CR stands now, or the one of that name; without a client, what the cluster alone says."""
    found = [await find(here, options, name)] if name else await operators(here, options)
    room = asyncio.Semaphore(AT_ONCE)

    async def look(operator: Operator) -> Overview:
        seen = _in_cluster(operator, here.workflow_id(operator.ref))
        if client is None:
            return seen
        async with room:
            return await _with_workflow(seen, client.get_workflow_handle(seen.workflow_id), options.timeout)

    return await asyncio.gather(*map(look, found))


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


async def _with_workflow(seen: Overview, handle: WorkflowHandle[Any, Any], seconds: float) -> Overview:
    """The same, with what Temporal and a worker say; whoever is silent is named in its place."""
    try:
        async with asyncio.timeout(seconds):
            description = await handle.describe()
    except TimeoutError:
        return replace(seen, trouble=f"Temporal did not answer within {seconds:g} s")
    except RPCError as error:
        return (
            seen
            if error.status is RPCStatusCode.NOT_FOUND
            else replace(seen, trouble=str(of_temporal(error, "Temporal")))
        )
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return seen
    seen = replace(seen, workflow=description.workflow_type)
    for pending in description.raw_description.pending_activities:
        seen = replace(seen, last_failure=pending.last_failure.message, attempt=pending.attempt)
    try:
        async with asyncio.timeout(seconds):
            progress: ProgressReport = await handle.query("progress", result_type=ProgressReport)
    except (TimeoutError, RPCError):
        return replace(seen, trouble=f"no worker answered within {seconds:g} s; `btpctl doctor` says whether one runs")
    return replace(
        seen,
        waits_for=progress.message,
        budget_left_seconds=_until(progress.budget_ends),
        held_for_seconds=_until(progress.held_until),
    )


def _until(end: datetime | None) -> int | None:
    return max(int((end - datetime.now(UTC)).total_seconds()), 0) if end else None
