"""How every BtpOperator stands, from the CRs and from the workflows that run for them."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from btpctl.connections import CommandError, Ends
from kube.errors import KubeError
from kube.resources import BTP_OPERATORS
from models.conditions import ready_condition
from models.operators import Operator
from models.status import ProgressReport


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

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def operators(ends: Ends) -> list[Operator]:
    """All CRs, the responsible one first.

    Raises:
        CommandError: they cannot be read.
    """
    try:
        listing = await ends.kube.list(BTP_OPERATORS)
    except KubeError as error:
        raise CommandError(f"BtpOperators cannot be listed: {error}; `btpctl doctor` tells more") from error
    return sorted((Operator.from_object(obj) for obj in listing.items), key=lambda each: each.created)


async def overviews(ends: Ends) -> list[Overview]:
    """How each CR stands now."""
    return [await _overview(ends.temporal, each, ends.workflow_id(each.ref)) for each in await operators(ends)]


async def find(ends: Ends, name: str) -> Operator:
    """The CR called `namespace/name`, or `name` if there is only one of that name.

    Raises:
        CommandError: there is none, or more than one.
    """
    known = await operators(ends)
    found = [each for each in known if name in (str(each.ref), each.ref.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(str(each.ref) for each in known) or "none"
    raise CommandError(f"{'no' if not found else 'more than one'} BtpOperator is called {name}; there are: {names}")


async def _overview(client: Client, operator: Operator, identity: str) -> Overview:
    condition = ready_condition(operator.status)
    fields: dict[str, Any] = {
        "name": str(operator.ref),
        "state": str((operator.status or {}).get("state") or ""),
        "reason": str(condition.get("reason") or ""),
        "message": str(condition.get("message") or ""),
        "age_seconds": int((datetime.now(UTC) - operator.created).total_seconds()),
        "deleting": operator.deleting,
        "workflow_id": identity,
    }
    handle = client.get_workflow_handle(identity)
    try:
        description = await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise CommandError(f"Temporal does not tell about {identity}: {error.message}") from error
        return Overview(**fields)
    if description.status is not WorkflowExecutionStatus.RUNNING:
        return Overview(**fields)
    fields["workflow"] = description.workflow_type
    for pending in description.raw_description.pending_activities:
        fields["last_failure"] = pending.last_failure.message
        fields["attempt"] = pending.attempt
    try:
        progress = await handle.query("progress", result_type=ProgressReport)
    except RPCError as error:
        return Overview(**fields, waits_for=f"no worker answers: {error.message}")
    left = progress.budget_ends - datetime.now(UTC) if progress.budget_ends else None
    return Overview(
        **fields,
        waits_for=progress.message,
        budget_left_seconds=max(int(left.total_seconds()), 0) if left is not None else None,
    )
