"""What a person can do about a deletion that waits: ask again, give it time, or end it."""

import asyncio
from typing import Annotated, Any

import typer
from rich.console import Console
from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from btpctl import show
from btpctl.arguments import By, Name, Why, Yes, ask
from btpctl.connections import Ends, connected
from btpctl.errors import CommandError, NoAnswer, of_temporal, of_workflow
from btpctl.options import Options, command
from btpctl.overview import find
from btpctl.service_objects import service_objects
from btpctl.workers import unanswered
from models.deletion_record import ExtendRequest, HoldRequest, ResumeRequest
from models.operators import Operator


def register(app: typer.Typer, console: Console) -> None:
    """Add these commands to the command line."""

    def tell(options: Options, name: str, update: str, *arguments: Any, before: str = "") -> None:
        said = asyncio.run(_update(options, name, update, *arguments))
        show.write(console, [show.sentence(f"{before}{said}")])

    @command(app)
    def retry(options: Options, name: Name = "") -> None:
        """Ask again, at once, for everything that a hard delete still waits for. The budget stays what it is."""
        tell(options, name, "retry_now", before="asked again; ")

    @command(app)
    def extend(
        options: Options,
        by: By,
        why: Why,
        minutes: Annotated[int, typer.Option(help="How many; 1440 in all.", min=1, max=1440)],
        name: Name = "",
    ) -> None:
        """Give a hard delete more time before soft delete follows."""
        tell(options, name, "extend", ExtendRequest(minutes=minutes, by=by, why=why))

    @command(app)
    def hold(options: Options, by: By, why: Why, name: Name = "") -> None:
        """Have the budget of a hard delete stand still, for 24 hours at most. The deletion itself goes on."""
        tell(options, name, "hold", HoldRequest(by=by, why=why))

    @command(app)
    def resume(options: Options, by: By, name: Name = "") -> None:
        """End a hold: the budget goes on."""
        tell(options, name, "resume", ResumeRequest(by=by))

    @command(app, "soft-delete")
    def soft_delete(options: Options, by: By, name: Name = "", yes: Yes = False) -> None:
        """End a hard delete before its budget is over. What is left is let go in the cluster and reported by name."""
        left = asyncio.run(_left(options, name))
        title = (
            f"{len(left)} service objects would be let go, and may live on in SAP BTP:" if left else "Nothing is left."
        )
        if not yes:
            show.write(console, [show.sentence(title), *show.service_objects(left)])
        ask("End hard delete now?", yes)
        tell(options, name, "skip_to_soft_delete", by)


async def _left(options: Options, name: str) -> list[Any]:
    async with connected(options) as ends:
        _check_deleting(await find(ends.cluster, options, name))
        return [each for _, each in await service_objects(ends.cluster, options)]


async def _update(options: Options, name: str, update: str, *arguments: Any) -> str:
    """Have the workflow of a deletion do something; returns its answer.

    Raises:
        CommandError: it was not done, for the reason that the sentence says.
    """
    async with connected(options) as ends:
        operator = await find(ends.cluster, options, name)
        _check_deleting(operator)
        handle = ends.temporal.get_workflow_handle(ends.cluster.workflow_id(operator.ref))
        try:
            async with asyncio.timeout(options.timeout):
                return str(await handle.execute_update(update, args=arguments))
        except WorkflowUpdateFailedError as error:
            raise CommandError(f"{operator.ref}: {of_workflow(error)}") from error
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            raise await _nobody(ends, operator, options) from error
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise of_temporal(error, "Temporal") from error
            raise NoAnswer(
                f"{operator.ref} is being deleted, but no workflow runs for it; `btpctl look` has it looked at, and "
                "`btpctl doctor` says whether a worker runs"
            ) from error
        except TemporalError as error:  # the worker has answered, in a way that is not read here
            raise CommandError(
                f"{operator.ref}: it was done, and the answer is not readable: {of_workflow(error)}"
            ) from error


def _check_deleting(operator: Operator) -> None:
    if not operator.deleting:
        raise CommandError(f"{operator.ref} is not being deleted")


async def _nobody(ends: Ends, operator: Operator, options: Options) -> NoAnswer:
    """The request may still be taken by a worker that comes soon: that is not known, so it is said."""
    why = await unanswered(ends, options.timeout)
    return NoAnswer(f"{operator.ref}: {why}; see with `btpctl status` whether it was done all the same")
