"""`btpctl reclaim`: have a worker delete in SAP BTP what is reported as abandoned, after a person has seen it."""

import asyncio
import time
import uuid
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import WorkflowAlreadyStartedError

from btpctl import show
from btpctl.arguments import Yes, ask
from btpctl.connections import Ends, connected
from btpctl.errors import CommandError, answered
from btpctl.options import Options, command
from btpctl.workers import unanswered
from dispatch.names import reclaim_id, shown_reclaims
from models.durations import show_duration
from models.names import LOOK_AGAIN, RECLAIM_WORKFLOW
from models.reclaim import Outcome, ReclaimInput, ReclaimResult
from models.text import plain, some
from worker.task_queue import workers

PATIENCE: Final = 300.0
"""Seconds for a living worker to look at everything that is reported."""


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app)
    def reclaim(
        options: Options,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
        yes: Yes = False,
    ) -> None:
        """Delete in SAP BTP what is reported as abandoned, also by reports older than Secret sap-btp-reclaim."""
        shown = asyncio.run(_show(options))
        nothing = "Nothing is reported as abandoned that is still in SAP BTP and not in use."
        show.write(console, show.reclaim(shown), nothing)
        going = sum(told.outcome is Outcome.WOULD_GO for told in shown.told)
        if dry_run or not going:
            return
        ask("Delete in SAP BTP, irrevocably, what is shown as `would go`?", yes)
        show.write(console, [show.sentence(asyncio.run(_start(options)))])


async def _show(options: Options) -> ReclaimResult:
    async with connected(options) as ends:
        starting = ends.temporal.start_workflow(
            RECLAIM_WORKFLOW,
            _input(ends, options, only_show=True),
            id=f"{shown_reclaims(ends.cluster.identity.task_queue)}{uuid.uuid4()}",
            task_queue=ends.cluster.identity.task_queue,
            result_type=ReclaimResult,
        )
        handle = await answered(starting, "Temporal", options.timeout)
        result = await _result(ends, handle, options)
    if not result.told and result.trouble:
        raise CommandError(f"nothing can be reclaimed: {plain(result.trouble)}")
    return result


async def _result(ends: Ends, handle: WorkflowHandle[Any, ReclaimResult], options: Options) -> ReclaimResult:
    """What a worker says, for as long as one is there to say it."""
    patience = time.monotonic() + PATIENCE
    told = False
    while True:
        try:
            async with asyncio.timeout(options.timeout):
                return await handle.result()
        except WorkflowFailureError as error:
            raise CommandError(f"it cannot be shown: {plain(error.cause)}") from error
        except TimeoutError:
            queue = ends.cluster.identity.task_queue
            alive = await answered(workers(ends.temporal, queue), "Temporal", options.timeout)
            if not alive or time.monotonic() > patience:
                await answered(handle.terminate("nobody waits for it any more"), "Temporal", options.timeout)
                raise await unanswered(ends, options.timeout) from None
            if not told:
                typer.echo(
                    f"no answer yet, waiting; workers that asked for work lately: {', '.join(some(alive))}", err=True
                )
            told = True


async def _start(options: Options) -> str:
    async with connected(options) as ends:
        identity = reclaim_id(ends.cluster.identity.task_queue)
        try:
            starting = ends.temporal.start_workflow(
                RECLAIM_WORKFLOW,
                _input(ends, options),
                id=identity,
                task_queue=ends.cluster.identity.task_queue,
                static_summary="Delete in SAP BTP all that is reported as abandoned",
            )
            await answered(starting, "Temporal", options.timeout)
        except WorkflowAlreadyStartedError:
            again = ends.temporal.get_workflow_handle(identity).signal(LOOK_AGAIN)
            await answered(again, "Temporal", options.timeout)
            return f"It is under way already, and looks again now: workflow {identity}"
    patience = show_duration(options.settings().reclaim_for)
    return (
        f"It has begun, and goes on for {patience} at most: workflow {identity}; `btpctl abandoned` shows what is left."
    )


def _input(ends: Ends, options: Options, only_show: bool = False) -> ReclaimInput:
    patience = options.settings().reclaim_for
    return ReclaimInput(cluster=ends.cluster.identity.cluster, reclaim_for=patience, only_show=only_show)
