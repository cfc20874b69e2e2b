"""Checks everything that the worker needs, or the trigger, and says of each thing what to do if it is not so."""

import asyncio
import json
from functools import partial
from typing import Annotated, Final, Literal

import typer
from rich.console import Console

from btpctl import show
from btpctl.arguments import Output
from btpctl.check import Check, shown
from btpctl.cluster_checks import GO_SETTINGS, Look, alone, check_cluster, go_settings, rights, secret, there
from btpctl.deletions import pending_deletions
from btpctl.options import Options, command
from btpctl.rights import needed, needed_by_trigger, needed_for_installation
from btpctl.temporal_checks import check_temporal
from kube.answers import Object, pod_spec
from kube.resources import NAMESPACES, PRIORITY_CLASSES
from models.credentials import REQUIRED_KEYS
from models.names import KYMA_NAMESPACE
from operand.credentials import Credentials
from operand.rendering import RenderError
from runtime.operand_chart import renderer_of
from runtime.settings import WorkerSettings

EXAMPLE: Final = Credentials({"data": dict.fromkeys(REQUIRED_KEYS, "ZG9jdG9y")})
OfProcess = Annotated[
    Literal["worker", "trigger"],
    typer.Option(help="Whose needs. Rights are those of whoever runs this: ask in a pod of that process."),
]
NOT_OF_THE_TRIGGER: Final = Check(
    "trigger",
    True,
    "not checked: `--process trigger` asks for the trigger, whose rights only its own pod has: "
    "kubectl -n kyma-system exec deploy/btp-manager-trigger -- btpctl doctor --process trigger",
    warns=True,
)


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app)
    def doctor(options: Options, process: OfProcess = "worker", output: Output = "text") -> None:
        """Check what the manager needs: cluster, rights, chart, Temporal. Ends with 1 if something is not so."""
        checks = asyncio.run(examine(options, process))
        if output == "json":
            found = [{"check": each.name, "ok": each.ok, "warns": each.warns, "detail": each.detail} for each in checks]
            typer.echo(json.dumps(found, indent=2))
        else:
            show.write(console, map(shown, checks))
        if not all(check.ok for check in checks):
            raise typer.Exit(1)


async def examine(options: Options, process: str) -> list[Check]:
    """Every check for a worker or a trigger; none stops the others."""
    if process == "trigger":
        looks: dict[str, Look] = {"rights": partial(rights, "the trigger", needed_by_trigger())}
        return [*await check_cluster(options, looks), *await check_temporal(options)]
    settings = options.settings()
    objects, chart = await _chart(settings)
    classes = sorted({name for obj in objects if (name := str(pod_spec(obj).get("priorityClassName") or ""))})
    wanted = needed(objects) + (needed_for_installation(settings.installation) if settings.installation else [])
    looks = {
        "pending deletions": pending_deletions,
        "another manager": alone,
        GO_SETTINGS: go_settings,
        "namespace": partial(there, resource=NAMESPACES, name=KYMA_NAMESPACE),
        **{f"PriorityClass {name}": partial(there, resource=PRIORITY_CLASSES, name=name) for name in classes},
        "Secret": partial(secret, settings.any_address),
        "rights": partial(rights, "the worker", wanted),
    }
    return [chart, *await check_cluster(options, looks), *await check_temporal(options), NOT_OF_THE_TRIGGER]


async def _chart(settings: WorkerSettings) -> tuple[list[Object], Check]:
    """What the operand's chart renders for a Secret that has every key."""
    if "chart_path" not in settings.model_fields_set and not settings.chart_path.exists():
        return [], Check("chart", True, "not looked at: the worker's image has it, this computer does not", warns=True)
    try:
        renderer = await renderer_of(settings)
        values = EXAMPLE.values()
        values["manager"]["webhook"] = {"caBundle": "ZG9jdG9y"}
        objects = await renderer.render(values)
    except (ValueError, RenderError) as error:
        return [], Check("chart", False, f"{settings.chart_path}: {error}")
    return objects, Check("chart", True, f"{renderer.chart.name} {renderer.version} renders {len(objects)} objects")
