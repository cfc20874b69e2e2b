"""Checks everything that the worker needs, or the trigger, and says of each thing what to do if it is not so."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal

import typer
from rich.console import Console
from rich.text import Text
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.service import RPCError

from btpctl import show
from btpctl.arguments import Output
from btpctl.connections import cluster, kubernetes, temporal
from btpctl.deletions import pending_deletions
from btpctl.errors import CommandError, answered
from btpctl.options import Options, command
from btpctl.rights import Right, needed, needed_by_trigger, needed_for_installation, not_allowed
from dispatch.names import schedule_id
from dispatch.nudger import Nudger
from dispatch.search_attributes import SEARCH_ATTRIBUTES
from kube.answers import Object, pod_spec
from kube.client import Kube
from kube.errors import KubeError
from kube.resources import (
    BTP_OPERATORS,
    CONFIG_MAPS,
    NAMESPACES,
    PRIORITY_CLASSES,
    SECRETS,
    Resource,
)
from models.credentials import REQUIRED_KEYS, verdict
from models.names import CREDENTIALS_SECRET, GO_MANAGER_SETTINGS, KYMA_NAMESPACE, RESYNC_WORKFLOW
from models.operators import Operator, OperatorRef
from models.text import some
from operand.credentials import Credentials
from operand.other_manager import other_manager
from operand.rendering import RenderError
from runtime.operand_chart import renderer_of
from runtime.settings import SettingsError, WorkerSettings
from worker.task_queue import workers

EXAMPLE: Final = Credentials({"data": dict.fromkeys(REQUIRED_KEYS, "ZG9jdG9y")})
GO_SETTINGS: Final = "settings of the Go manager"
Look = Callable[[Kube], Awaitable[tuple[bool, str]]]
"""Asks the cluster: whether something is so, and a sentence."""
OfProcess = Annotated[
    Literal["worker", "trigger"],
    typer.Option(help="Whose needs. Rights are those of whoever runs this: ask in a pod of that process."),
]


@dataclass(frozen=True)
class Check:
    """One thing that has to be so."""

    name: str
    ok: bool
    detail: str
    warns: bool = False
    """It works, and somebody should know what it means."""


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


def shown(check: Check) -> show.Block:
    """A check for people."""
    verdict, style = ("no", "red") if not check.ok else ("!!", "yellow") if check.warns else ("ok", "green")
    return show.Block(Text.assemble((f"{verdict}  ", style), check.name), [("", check.detail)])


async def examine(options: Options, process: str) -> list[Check]:
    """Every check for a worker or a trigger; none stops the others."""
    if process == "trigger":
        rights = partial(_rights, "the trigger", needed_by_trigger())
        return [*await _cluster_checks(options, {"rights": rights}), *await _temporal_checks(options)]
    settings = options.settings()
    objects, chart = await _chart(settings)
    classes = sorted({name for obj in objects if (name := str(pod_spec(obj).get("priorityClassName") or ""))})
    wanted = needed(objects) + (needed_for_installation(settings.installation) if settings.installation else [])
    further: dict[str, Look] = {
        "pending deletions": pending_deletions,
        "another manager": alone,
        GO_SETTINGS: go_settings,
        "namespace": partial(_there, resource=NAMESPACES, name=KYMA_NAMESPACE),
        **{f"PriorityClass {name}": partial(_there, resource=PRIORITY_CLASSES, name=name) for name in classes},
        "Secret": partial(_secret, settings.any_address),
        "rights": partial(_rights, "the worker", wanted),
    }
    return [chart, *await _cluster_checks(options, further), *await _temporal_checks(options), NOT_OF_THE_TRIGGER]


async def _chart(settings: WorkerSettings) -> tuple[list[Object], Check]:
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


async def _cluster_checks(options: Options, further: dict[str, Look]) -> list[Check]:
    async def check(kube: Kube, name: str, look: Look) -> Check:
        try:
            ok, text = await answered(look(kube), f"the cluster at {kube.host}", options.timeout)
        except CommandError as error:
            return Check(name, False, str(error))
        warns = name == GO_SETTINGS and not ok  # nothing fails for want of them
        return Check(name, ok or warns, text, warns)

    looks: dict[str, Look] = {"CustomResourceDefinition": _crd, **further}
    try:
        async with kubernetes(options) as kube:
            return await asyncio.gather(*(check(kube, name, look) for name, look in looks.items()))
    except CommandError as error:
        return [Check("cluster", False, str(error))]


async def _crd(kube: Kube) -> tuple[bool, str]:
    """NotFound becomes a sentence of its own: it is the usual case."""
    try:
        found = await kube.list(BTP_OPERATORS)
    except KubeError as error:
        if error.status == 404:
            return False, "BtpOperators are unknown; kubectl apply -f chart/btp-manager/crds/"
        raise
    return True, f"{len(found.items)} BtpOperators at {kube.host}"


async def alone(kube: Kube) -> tuple[bool, str]:
    """Whether no other manager runs."""
    if seen := await other_manager(kube):
        return False, f"the Go manager runs ({seen}): nothing is applied or deleted while it does; see docs/upgrade.md"
    return True, "none"


async def go_settings(kube: Kube) -> tuple[bool, str]:
    """Whether the Go manager left no ConfigMap. By a list, which a worker may ask for: the doctor has its rights."""
    named = f"metadata.name={GO_MANAGER_SETTINGS}"
    if not (await kube.list(CONFIG_MAPS, KYMA_NAMESPACE, fields=named, metadata_only=True)).items:
        return True, "none"
    means = "is not read here; `btpctl takeover` says which Helm values it becomes, then delete it"
    return False, f"ConfigMap {KYMA_NAMESPACE}/{GO_MANAGER_SETTINGS} {means}"


async def _there(kube: Kube, resource: Resource, name: str) -> tuple[bool, str]:
    found = await kube.find(resource, name)
    return found is not None, name if found else f"{resource.kind} {name} does not exist; create it"


async def _rights(who: str, wanted: list[Right], kube: Kube) -> tuple[bool, str]:
    missing = await not_allowed(kube, wanted)
    if not missing:
        return True, f"all {len(wanted)} that {who} needs"
    shown = "; ".join(f"{verb} {resource.plural} {name or ''}".strip() for resource, verb, _, name in missing[:5])
    return False, f"{len(missing)} of {len(wanted)} are missing: {shown}; chart/btp-manager grants them to {who}"


async def _secret(any_address: bool, kube: Kube) -> tuple[bool, str]:
    trouble = verdict(await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE), any_address=any_address)
    return trouble is None, trouble[1] if trouble else f"{KYMA_NAMESPACE}/{CREDENTIALS_SECRET} has every key"


async def _temporal_checks(options: Options) -> list[Check]:
    try:
        client = await temporal(options)
        listed = await answered(
            client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace)),
            "Temporal",
            options.timeout,
        )
        missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]
        attributes = (
            f"{', '.join(missing)} missing; a worker registers them when it starts" if missing else "registered"
        )
        return [
            Check("Temporal", True, f"{client.service_client.config.target_host}, namespace {client.namespace}"),
            _identity(client),
            Check("search attributes", not missing, attributes),
            *await _queue_checks(client, options),
        ]
    except (CommandError, SettingsError) as error:
        return [Check("Temporal", False, str(error))]


def _identity(client: Client) -> Check:
    """Whoever may write to the Temporal namespace can have every service object deleted."""
    config = client.service_client.config
    certificate = getattr(config.tls, "client_cert", None)
    if config.tls and (config.api_key or certificate):
        return Check("identity", True, "by client certificate" if certificate else "by API key")
    lacks = "an API key or a client certificate" if config.tls else "TLS"
    means = "whoever reaches it can have every service instance deleted; see docs/security.md"
    return Check("identity", True, f"Temporal is reached without {lacks}: {means}", warns=True)


async def _queue_checks(client: Client, options: Options) -> list[Check]:
    """Who serves this cluster's task queue, and whether it is looked at without events."""
    settings = options.settings()
    try:
        async with cluster(options) as reached:
            here = reached.identity
            found = await answered(reached.kube.list(BTP_OPERATORS, metadata_only=True), reached.who, options.timeout)
            refs = [Operator.from_object(obj).ref for obj in found.items]
    except CommandError as error:
        return [Check("workers", False, f"the task queue is not known without the cluster: {error}")]
    nudger = Nudger(client, here.task_queue, here.cluster, settings.limits(), settings.operand_teardown)
    asked = (_pollers(client, here.task_queue), _schedule(client, here.task_queue), _workflows(nudger, refs))
    return await asyncio.gather(*(answered(each, "Temporal", options.timeout) for each in asked))


async def _workflows(nudger: Nudger, refs: list[OperatorRef]) -> Check:
    """Whether somebody else holds the id of a CR."""
    squatters = [squatter for ref in refs if (squatter := await nudger.squatter(ref))]
    return Check(
        "workflows", not squatters, "; ".join(some(squatters, longest=300)) or "nobody else runs under a CR's id"
    )


async def _pollers(client: Client, task_queue: str) -> Check:
    names = await workers(client, task_queue)
    if not names:
        return Check("workers", False, f"none has asked task queue {task_queue} for work in the last 90 s; start one")
    # Whoever polls gets the work. Which of them are yours, only you know.
    return Check("workers", True, f"{len(names)} on task queue {task_queue}: {', '.join(some(names, most=10))}")


async def _schedule(client: Client, task_queue: str) -> Check:
    identity = schedule_id(task_queue)
    try:
        found = await client.get_schedule_handle(identity).describe()
    except RPCError as error:
        return Check("resync", False, f"schedule {identity}: {error.message}; a worker makes it when it starts")
    if found.schedule.state.paused:
        return Check(
            "resync", False, f"schedule {identity} is paused: {found.schedule.state.note or 'no reason given'}"
        )
    action, intervals = found.schedule.action, found.schedule.spec.intervals
    starts = (action.workflow, action.task_queue) if isinstance(action, ScheduleActionStartWorkflow) else ()
    if starts != (RESYNC_WORKFLOW, task_queue) or not intervals:
        why = "was changed and starts no resync of this cluster; a worker puts it right when it starts"
        return Check("resync", False, f"schedule {identity} {why}")
    return Check("resync", True, f"schedule {identity}, every {intervals[0].every}")
