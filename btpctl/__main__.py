"""The commands. What kubectl and the Temporal CLI do well already is left to them."""

import asyncio
import importlib.metadata
import json
import logging
import sys
import time
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import structlog
import typer
from rich.console import Console
from temporalio.client import Client

from btpctl import deleting, doctor, in_use, reclaim, release, show, takeover
from btpctl.arguments import Name, Output
from btpctl.connections import Cluster, cluster, temporal
from btpctl.errors import CommandError, NoAnswer, answered
from btpctl.options import Options, command
from btpctl.overview import Overview, find, overviews
from kube.resources import BTP_OPERATORS
from models.text import plain
from operand.report_parts import stored_parts, text_of
from runtime.process import leave
from runtime.settings import CHECKOUT, SettingsError

EVERY = 1.0
"""Seconds between two looks of `--watch`."""
app = typer.Typer(
    help="How every BtpOperator stands, and what a person can do about it. Where nothing else is said, the cluster "
    "comes from KUBECONFIG, Temporal from TEMPORAL_*, the task queue from BTP_TASK_QUEUE, as for worker and trigger. "
    "Ends with 0 when it is done; 1 when something is not as it should be, or you said no; 2 when it cannot be done as "
    "asked; 3 when somebody does not answer; 4 when you may not do it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
deleting.register(app, console)
reclaim.register(app, console)
release.register(app, console)
doctor.register(app, console)
takeover.register(app, console)
in_use.register(app, console)


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"btpctl {_installed_version()}")
        raise typer.Exit


def _installed_version() -> str:
    try:
        return importlib.metadata.version("btp-manager")
    except importlib.metadata.PackageNotFoundError:  # in the image, which has the code but installed no package of it
        return str(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"])


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options that stand before the command."""


@command(app)
def status(
    options: Options,
    name: Name = "",
    output: Output = "text",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again each second until Ctrl-C.")] = False,
) -> None:
    """Every BtpOperator: its condition, the workflow that runs for it, what that waits for, which budget is left."""
    if watch and output == "json":
        raise CommandError("--watch is for people; ask again for JSON as often as you need it")
    if watch:
        _follow(options, name)
        return
    found, trouble = asyncio.run(_standings(options, name))
    if output == "json":
        _print([each.as_json() for each in found])
    else:
        show.write(console, show.standings(found), nothing="There is no BtpOperator.")
    if trouble:
        raise trouble


async def _standings(options: Options, name: str) -> tuple[list[Overview], CommandError | None]:
    """What is known. Without Temporal it is what the CRs say, and why there is no more."""
    async with cluster(options) as here:
        client, trouble = await _temporal(options)
        found, unsaid = await overviews(here, client, options, name)
    return found, trouble or unsaid


async def _temporal(options: Options) -> tuple[Client | None, CommandError | None]:
    try:
        return await temporal(options), None
    except CommandError as error:
        return None, error


def _follow(options: Options, name: str) -> NoReturn:
    """Show what there is each second; who does not answer is named, and asked again."""
    shown: list[str] = []
    while True:
        try:
            found, trouble = asyncio.run(_standings(options, name))
        except NoAnswer as error:
            found, trouble = [], error
        blocks = show.standings(found) or [show.sentence("" if trouble else "There is no BtpOperator.")]
        if trouble:
            blocks.append(show.sentence(f"{trouble}; asking again"))
        said = [each.title.plain + repr(each.facts) for each in blocks]
        if console.is_terminal:
            console.clear()
        if console.is_terminal or said != shown:
            show.write(console, [show.sentence(f"{datetime.now():%H:%M:%S}"), *blocks])
        shown = said
        time.sleep(EVERY)


@command(app)
def look(options: Options, name: Name = "") -> None:
    """Have a BtpOperator looked at now, not only when something changes. The trigger passes this on."""
    ref, identity = asyncio.run(_look(options, name))
    show.write(console, [show.Block(show.text(f"{ref} will be looked at"), [("workflow", identity)])])


async def _look(options: Options, name: str) -> tuple[str, str]:
    """Any change of a label is looked at; the time makes this a change each time."""
    async with cluster(options) as here:
        ref = (await find(here, options, name)).ref
        labels = {"metadata": {"uid": ref.uid, "labels": {"look": str(int(time.time()))}}}
        asked = here.kube.merge(BTP_OPERATORS, ref.name, ref.namespace, labels)
        await answered(asked, here.who, options.timeout)
        return str(ref), here.workflow_id(ref)


@command(app)
def abandoned(options: Options, output: Output = "text") -> None:
    """What soft deletes let go: it may live on in SAP BTP until somebody deletes it there."""
    entries = asyncio.run(_abandoned(options))
    if output == "json":
        _print(entries)
    else:
        show.write(console, show.abandoned(entries), nothing="Nothing was abandoned.")


async def _abandoned(options: Options) -> list[dict[str, Any]]:
    async def read(here: Cluster) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        async for part in stored_parts(here.kube):
            entries += [entry for line in text_of(part).splitlines() if isinstance(entry := _entry(line), dict)]
        return entries

    async with cluster(options) as here:
        return await answered(read(here), here.who, options.timeout)


def _entry(line: str) -> object:
    try:
        return json.loads(line)
    except ValueError:
        return {"name": line}  # edited by a person


def _print(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def main() -> int:
    """Returns the exit status that the help text explains."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # sentences say it here
    as_plugin = Path(sys.argv[0]).name == "kubectl-btp"
    try:
        app(prog_name="kubectl btp" if as_plugin else "btpctl")
    except SystemExit as end:  # its way to say how it went, also on a wrong option
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    except (CommandError, SettingsError) as error:
        sys.stderr.write(f"btpctl: {plain(error, show.LONGEST)}\n")
        return getattr(error, "status", CommandError.status)
    return 0


def script() -> NoReturn:
    """What `btpctl` and `kubectl btp` call."""
    leave(main())


if __name__ == "__main__":
    script()
