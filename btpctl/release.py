"""`btpctl release`: take a BtpOperator out of the cluster where neither Temporal nor the manager will do it.

For the day when both are gone for good. Nothing is deleted but the CR: it says first what stays behind, reports service
objects as every deletion does, and takes the CR's finalizer off, under the mandate that every deletion holds.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.console import Console

from btpctl import show
from btpctl.arguments import By, Name, Why, Yes, ask
from btpctl.connections import Cluster, cluster, temporal
from btpctl.errors import CommandError, answered
from btpctl.options import Options, command
from btpctl.overview import find
from btpctl.service_objects import Found, service_objects
from kube.client import Kube
from kube.errors import NotFound
from kube.finalizers import taking_off
from kube.resources import BTP_OPERATORS, CHART_KINDS, PODS, SERVICE_BINDINGS
from models.deprovision import counted
from models.mandate import Purpose
from models.names import FINALIZER, KYMA_NAMESPACE
from models.operators import Operator
from models.text import plain, some
from operand.abandoned_report import AbandonedReport
from operand.mandated import MandatedKube, MandateLost, OtherCluster
from operand.ownership import is_ours, managed
from worker.task_queue import workers

WORKER_PODS: Final = "app.kubernetes.io/name=btp-manager,app.kubernetes.io/component=worker"
Force = Annotated[
    bool, typer.Option("--even-if-a-worker-runs", help="Also while a worker is alive, which may delete what stays.")
]


@dataclass(frozen=True)
class Behind:
    """What a release leaves in the cluster."""

    operator: Operator
    objects: Found
    operand: list[str]
    """What the manager installed, as `Kind namespace/name`."""
    doubt: str
    """What is known of workers, where it is not known that none runs."""


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app)
    def release(
        options: Options, by: By, why: Why, name: Name = "", yes: Yes = False, even_if_a_worker_runs: Force = False
    ) -> None:
        """Break glass: let a BtpOperator go that is being deleted, without Temporal and without the manager."""
        behind = asyncio.run(_look(options, name, even_if_a_worker_runs))
        show.write(console, _told(behind))
        ask(f"Let BtpOperator {behind.operator.ref} go, and leave all this behind?", yes)
        asyncio.run(_release(options, behind.operator, even_if_a_worker_runs, f"released by {by}: {why}"))
        reported = "; `btpctl abandoned` shows the report" if behind.objects else ""
        show.write(console, [show.sentence(f"BtpOperator {behind.operator.ref} is let go{reported}")])


async def _look(options: Options, name: str, force: bool) -> Behind:
    """Raises CommandError: it may not be released."""
    async with cluster(options) as here:
        operator = await find(here, options, name)
        if not operator.deleting:
            raise CommandError(f"{operator.ref} is not being deleted: kubectl delete it first")
        if not operator.holds_finalizer:
            held = ", ".join(operator.held_by) or "nothing"
            raise CommandError(f"{operator.ref} does not carry the manager's finalizer; it is held by {held}")
        doubt = await _check_no_worker(here, options, force)
        objects = await service_objects(here, options)
        operand = await answered(_installed(here.kube), here.who, options.timeout)
    return Behind(operator, objects, operand, doubt)


async def _check_no_worker(here: Cluster, options: Options, force: bool) -> str:
    """Returns what a person should know where it is not sure; empty where it is.

    Raises:
        CommandError: a worker runs. It would carry on with what this command leaves alone.
    """
    found = await answered(here.kube.list(PODS, labels=WORKER_PODS), here.who, options.timeout)
    alive = [f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in found.items if _is_ready(pod)]
    doubt = ""
    try:
        client = await temporal(options)
        alive += await answered(workers(client, here.identity.task_queue), "Temporal", options.timeout)
    except CommandError as error:
        doubt = f"Whether a worker runs outside this cluster is not known: {error}"
    names = ", ".join(some(alive))
    if alive and not force:
        raise CommandError(
            f"a worker runs, or did within the last 90 s ({names}), and is there to do this: see `btpctl status`, or "
            "stop it first; --even-if-a-worker-runs goes on all the same"
        )
    return f"A worker runs, or did within the last 90 s ({names}), and may delete what stays." if alive else doubt


def _is_ready(pod: dict[str, object]) -> bool:
    status = pod.get("status")
    conditions = status.get("conditions") or [] if isinstance(status, dict) else []
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


async def _installed(kube: Kube) -> list[str]:
    names: list[str] = []
    for resource in CHART_KINDS:
        with contextlib.suppress(NotFound):
            found = await managed(kube, resource, KYMA_NAMESPACE if resource.namespaced else None, metadata_only=True)
            names += [resource.named(each) for each in found if is_ours(resource, each)]
    return names


def _told(behind: Behind) -> list[show.Block]:
    bindings = sum(each.kind == SERVICE_BINDINGS.kind for _, each in behind.objects)
    instances = len(behind.objects) - bindings
    blocks = [
        show.sentence(
            f"BtpOperator {behind.operator.ref} (uid {behind.operator.ref.uid}) would be let go. This stays behind:"
        )
    ]
    if behind.objects:
        left = f"{counted(instances, 'ServiceInstance')} and {counted(bindings, 'ServiceBinding')}"
        title = f"{left}, reported, as they may live on in SAP BTP:"
        blocks += [show.sentence(title), *show.service_objects([each for _, each in behind.objects])]
    else:
        blocks.append(show.sentence("no service objects"))
    operand = f"{len(behind.operand)} objects of the operand" if behind.operand else "nothing of the operand"
    blocks.append(show.Block(show.text(operand), [("", ", ".join(behind.operand))]))
    if behind.doubt:
        blocks.append(show.sentence(behind.doubt))
    return blocks


async def _release(options: Options, operator: Operator, force: bool, because: str) -> None:
    """Report first, then take the finalizer off: a crash in between reports too much, never too little."""
    async with cluster(options) as here:
        await _check_no_worker(here, options, force)  # again: the person may have thought for long
        held = MandatedKube(here.kube, here.mandate(operator.ref), Purpose.DELETE)
        try:
            await answered(held.look(), here.who, options.timeout)
            objects = await service_objects(here, options)  # those of now
            report = AbandonedReport(here.kube, held, operator.ref, plain(because))
            await answered(report.load(), here.who, options.timeout)
            await answered(report.add(objects), here.who, options.timeout)
            await answered(_take_finalizer_off(here.kube, held, operator), here.who, options.timeout)
        except (MandateLost, OtherCluster) as error:
            raise CommandError(f"nothing was let go: {error}") from error


async def _take_finalizer_off(kube: Kube, held: MandatedKube, operator: Operator) -> None:
    """Ours and no other, off the very CR that was shown."""
    ref = operator.ref
    meta = (await kube.get(BTP_OPERATORS, ref.name, ref.namespace, metadata_only=True))["metadata"]
    if meta["uid"] != ref.uid or FINALIZER not in (meta.get("finalizers") or []):
        raise MandateLost(f"BtpOperator {ref} is not the one that was shown any more")
    await held.json_patch(BTP_OPERATORS, ref.name, ref.namespace, taking_off(FINALIZER, meta))
