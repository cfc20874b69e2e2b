"""The commands. What kubectl and the Temporal CLI do well already is left to them."""

import asyncio
import getpass
import json
import sys
import time
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console
from rich.live import Live
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from btpctl import show
from btpctl.connections import CommandError, cluster, connected
from btpctl.doctor import examine
from btpctl.overview import find, overviews
from btpctl.reclaim import reclaim
from btpctl.takeover import takeover
from kube.errors import KubeError, NotFound
from kube.resources import BTP_OPERATORS
from models.text import plain
from operand.report_parts import stored_parts, text_of
from runtime.process import leave
from runtime.settings import SettingsError, WorkerSettings, read_settings

T = TypeVar("T")
Output = Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="For people, or for programs.")]
Name = Annotated[str, typer.Argument(help="The BtpOperator: namespace/name, or its name if there is one of that name.")]
app = typer.Typer(
    help="How every BtpOperator stands, and what a person can do about it. The cluster comes from KUBECONFIG, "
    "Temporal from TEMPORAL_ADDRESS, the task queue from BTP_TASK_QUEUE, as for worker and trigger.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
app.command()(reclaim)
app.command()(takeover)


@app.command()
def status(
    output: Output = "table",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again each second until Ctrl-C.")] = False,
) -> None:
    """Every BtpOperator: its condition, the workflow that runs for it, what that waits for, which budget is left."""
    settings = read_settings(WorkerSettings)

    async def look() -> list[Any]:
        async with connected(settings) as ends:
            return await overviews(ends)

    if output == "json":
        _print([each.as_json() for each in asyncio.run(look())])
        return
    if not watch:
        console.print(show.standings(asyncio.run(look())))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(show.standings(asyncio.run(look())), refresh=True)
            time.sleep(1)


@app.command()
def retry(name: Name) -> None:
    """Ask again, at once, for everything that a hard delete still waits for. The budget stays what it is."""
    left = asyncio.run(_update(name, "retry_now"))
    console.print(show.text(f"asked again; {left}"))


@app.command("soft-delete")
def soft_delete(
    name: Name,
    now: Annotated[bool, typer.Option("--now", help="Needed: what is left may live on in SAP BTP.")] = False,
    by: Annotated[str, typer.Option(help="Who asks, for the report.")] = "",
) -> None:
    """End a hard delete before its budget is over. What is left is let go in the cluster and reported by name."""
    if not now:
        raise CommandError(f"what is left of {name} may live on in SAP BTP; say --now if that is what you want")
    left = asyncio.run(_update(name, "skip_to_soft_delete", by or getpass.getuser()))
    console.print(show.text(f"soft delete begins; {left}"))


@app.command()
def abandoned(output: Output = "table") -> None:
    """What soft deletes let go: it may live on in SAP BTP until somebody deletes it there."""
    entries = asyncio.run(_abandoned())
    if output == "json":
        _print(entries)
    else:
        console.print(show.abandoned(entries))


@app.command("in-use")
def in_use() -> None:
    """Name every BtpOperator that keeps the manager from being uninstalled. Ends with 1 if there is one."""
    names = asyncio.run(_operators())
    for name in names:
        console.print(show.text(f"BtpOperator {name} exists: delete it and wait until it is gone"))
    if names:
        console.print("Without the manager nobody takes its finalizer off, and nobody deletes what it brought.")
        raise typer.Exit(1)
    console.print("no BtpOperator exists")


@app.command()
def doctor(output: Output = "table") -> None:
    """Check what worker and trigger need: cluster, rights, chart, Temporal. Ends with 1 if one is not."""
    checks = asyncio.run(examine(read_settings(WorkerSettings)))
    if output == "json":
        _print(
            [{"check": check.name, "ok": check.ok, "warns": check.warns, "detail": check.detail} for check in checks]
        )
    else:
        console.print(show.checks(checks))
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


async def _operators() -> list[str]:
    kube = await cluster()
    try:
        found = await kube.list(BTP_OPERATORS, metadata_only=True)
    except NotFound:  # no CustomResourceDefinition, so none can exist
        return []
    finally:
        await kube.close()
    return [f"{obj['metadata']['namespace']}/{obj['metadata']['name']}" for obj in found.items]


async def _update(name: str, update: str, *arguments: str) -> str:
    settings = read_settings(WorkerSettings)
    async with connected(settings) as ends:
        operator = await find(ends, name)
        handle = ends.temporal.get_workflow_handle(ends.workflow_id(operator.ref))
        try:
            return str(await handle.execute_update(update, args=arguments))
        except WorkflowUpdateFailedError as error:
            raise CommandError(f"{operator.ref}: {error.cause}") from error
        except RPCError as error:
            raise CommandError(f"{operator.ref} is not being deleted: {error.message}") from error


async def _abandoned() -> list[dict[str, Any]]:
    settings = read_settings(WorkerSettings)
    async with connected(settings) as ends:
        entries: list[dict[str, Any]] = []
        async for part in stored_parts(ends.kube):
            entries += [entry for line in text_of(part).splitlines() if isinstance(entry := _entry(line), dict)]
        return entries


def _entry(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return {"name": line}  # edited by a person


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def main() -> int:
    """Returns the exit status: 2, with one sentence, when the command cannot be done."""
    try:
        app(prog_name="btpctl")
    except SystemExit as end:  # its way to say how it went, also on a wrong option
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except (CommandError, SettingsError, KubeError) as error:
        sys.stderr.write(f"btpctl: {plain(error, show.LONGEST)}\n")
        return 2
    return 0


if __name__ == "__main__":
    leave(main())
