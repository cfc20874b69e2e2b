"""`btpctl takeover`: says what a takeover from the Go manager finds, and prepares what disturbs nobody."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
import yaml
from rich.console import Console

from btpctl.arguments import Output
from btpctl.connections import kubernetes
from btpctl.errors import CommandError, answered
from btpctl.options import Options, command
from btpctl.takeover_preflight import Takeover, look
from kube.client import Kube
from kube.resources import PRIORITY_CLASSES
from models.names import KYMA_NAMESPACE
from models.text import some

PRIORITY: Final = {"metadata": {"name": KYMA_NAMESPACE}, "value": 2000000, "description": "For the components of Kyma"}
"""As docs/prerequisites.yaml makes it."""
Prepare = Annotated[
    bool,
    typer.Option(
        "--prepare",
        help="Make PriorityClass kyma-system where it is missing, and write the Helm values. Stops no manager, changes "
        "no object that exists.",
    ),
]
Values = Annotated[Path, typer.Option(help="Where --prepare writes the Helm values.")]


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app)
    def takeover(
        options: Options,
        prepare: Prepare = False,
        values: Values = Path("takeover-values.yaml"),
        output: Output = "text",
    ) -> None:
        """Say what a takeover from the Go manager finds, does and needs first. Ends with 1 if something comes first."""
        seen, done = asyncio.run(_run(options, prepare, values))
        if output == "json":
            typer.echo(json.dumps({**asdict(seen), "done": done}, indent=2))
        else:
            console.print(_text(seen, done), markup=False, highlight=False, soft_wrap=True)
        if seen.first:
            raise typer.Exit(1)


async def _run(options: Options, prepare: bool, values: Path) -> tuple[Takeover, list[str]]:
    async with kubernetes(options) as kube:
        who = f"the cluster at {kube.host}"
        seen = await answered(look(kube), who, options.timeout)
        if not prepare:
            return seen, []
        done = await answered(prepare_cluster(kube, seen, values), who, options.timeout)
        return await answered(look(kube), who, options.timeout), done


async def prepare_cluster(kube: Kube, seen: Takeover, path: Path) -> list[str]:
    """Do what disturbs nobody. Returns what was done.

    Raises:
        CommandError: the file is there already, or cannot be written.
    """
    done = []
    if seen.values:
        try:
            with path.open("x") as file:
                yaml.safe_dump(seen.values, file)
        except OSError as error:
            raise CommandError(f"{path} is not written: {error.strerror}; --values names another file") from error
        done.append(f"wrote {path}: `helm install ... --values {path}`")
    if seen.lacks_priority_class:
        await kube.create(PRIORITY_CLASSES, PRIORITY)
        done.append(f"made PriorityClass {KYMA_NAMESPACE}")
    return done


def _text(seen: Takeover, done: list[str]) -> str:
    parts = [
        ("Manager", [seen.manager]),
        ("BtpOperators", some(seen.operators, most=50, longest=500) if seen.operators else ["none"]),
        ("Service objects", [seen.service_objects]),
        ("Pending deletions", [seen.deletions]),
        ("Settings of the Go manager", seen.settings or ["none of its own"]),
        ("Helm values", yaml.safe_dump(seen.values).splitlines() if seen.values else ["none are needed for them"]),
        ("Left over", seen.leftovers or ["nothing"]),
        ("Done", done),
        ("First", [f"{number}. {step}" for number, step in enumerate(seen.first, 1)] or ["nothing"]),
        ("Then", [seen.then]),
    ]
    return "\n".join("\n".join([f"{title}:", *(f"  {line}" for line in lines)]) for title, lines in parts if lines)
