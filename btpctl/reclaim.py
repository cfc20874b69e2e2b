"""`btpctl reclaim`: have a worker delete in SAP BTP what is reported as abandoned, after a person has seen it."""

import asyncio
import sys
import uuid
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from btpctl.connections import CommandError, Ends, connected
from models.durations import show_duration
from models.names import LOOK_AGAIN, RECLAIM_WORKFLOW
from models.reclaim import Outcome, ReclaimInput, ReclaimResult
from runtime.settings import WorkerSettings, read_settings

PATIENCE: Final = 300.0
"""Seconds for a worker to look at everything that is reported."""
console = Console()


def reclaim(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete in SAP BTP what is reported as abandoned, also by reports older than Secret sap-btp-reclaim."""
    settings = read_settings(WorkerSettings)
    shown = asyncio.run(_show(settings))
    console.print(_table(shown))
    going = sum(told.outcome is Outcome.WOULD_GO for told in shown.told)
    if dry_run or not going:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("nobody can be asked here; say --yes if what is shown as `would go` shall be deleted")
        typer.confirm("Delete in SAP BTP, for good, what is shown as `would go`?", abort=True)
    console.print(asyncio.run(_start(settings)))


async def _show(settings: WorkerSettings) -> ReclaimResult:
    async with connected(settings) as ends:
        identity = f"{ends.identity.task_queue}/reclaim/shown-{uuid.uuid4()}"
        try:
            async with asyncio.timeout(PATIENCE):
                result: ReclaimResult = await ends.temporal.execute_workflow(
                    RECLAIM_WORKFLOW,
                    _input(ends, settings, only_show=True),
                    id=identity,
                    task_queue=ends.identity.task_queue,
                    result_type=ReclaimResult,
                )
        except TimeoutError as error:
            raise CommandError(f"no worker has looked within {PATIENCE:.0f} s; `btpctl doctor` says more") from error
        except (WorkflowFailureError, RPCError) as error:
            raise CommandError(f"it cannot be shown: {error.cause or error}") from error
    if not result.told and result.trouble:
        raise CommandError(f"nothing can be reclaimed: {result.trouble}")
    return result


async def _start(settings: WorkerSettings) -> str:
    async with connected(settings) as ends:
        identity = f"{ends.identity.task_queue}/reclaim/all"
        try:
            await ends.temporal.start_workflow(
                RECLAIM_WORKFLOW,
                _input(ends, settings),
                id=identity,
                task_queue=ends.identity.task_queue,
                static_summary="Delete in SAP BTP all that is reported as abandoned",
            )
        except WorkflowAlreadyStartedError:
            await ends.temporal.get_workflow_handle(identity).signal(LOOK_AGAIN)
            return f"It is under way already, and looks again now: workflow {identity}"
        except RPCError as error:
            raise CommandError(f"it cannot be started: {error.message}") from error
    patience = show_duration(settings.reclaim_for)
    return (
        f"It has begun, and goes on for {patience} at most: workflow {identity}; `btpctl abandoned` shows what is left."
    )


def _input(ends: Ends, settings: WorkerSettings, only_show: bool = False) -> ReclaimInput:
    return ReclaimInput(cluster=ends.identity.cluster, reclaim_for=settings.reclaim_for, only_show=only_show)


def _table(shown: ReclaimResult) -> Table | str:
    if not shown.told:
        return "Nothing is reported as abandoned that is still in SAP BTP and not in use."
    table = Table("Kind", "Namespace", "Name", "Id in SAP BTP", "", "Why", box=None)
    for told in shown.told:
        row = (told.kind, told.namespace, told.name, told.sap_id or "-", told.outcome.value, told.why or "-")
        table.add_row(*map(escape, row))
    if shown.left > len(shown.told):
        table.caption = f"and {shown.left - len(shown.told)} more"
    return table
