"""Before the manager is uninstalled: what nobody would go on with then, and the resync that nobody would serve."""

import asyncio
from typing import Annotated, Final

import typer
from rich.console import Console
from temporalio.client import Client

from btpctl import show
from btpctl.connections import Cluster, cluster, connected, temporal
from btpctl.errors import CommandError, answered
from btpctl.options import Options, command
from dispatch.names import schedule_id
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS, SECRETS
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET, RECLAIM_WORKFLOW
from models.text import plain, some
from runtime.settings import SettingsError
from worker.schedule import end_resync
from worker.task_queue import RECENT, workers

MOST_NAMED: Final = 20


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app, "in-use")
    def in_use(
        options: Options,
        end_resync: Annotated[
            bool, typer.Option("--end-resync", help="Where there is none, end the resync too, as the last step before.")
        ] = False,
    ) -> None:
        """Name every BtpOperator and every open reclaim that uninstalling would strand. Ends with 1 if there is one."""
        operators, reclaims = asyncio.run(_look(options))
        blocks = [f"BtpOperator {name} exists: delete it and wait until it is gone" for name in operators]
        blocks += [
            f"{each} still deletes in SAP BTP what was abandoned: wait until it ends, or cancel it" for each in reclaims
        ]
        if blocks:
            show.write(console, map(show.sentence, blocks))
        if operators:
            without = "Without the manager nobody takes its finalizer off, and nobody deletes what it brought."
            show.write(console, [show.sentence(without)])
        if blocks:
            raise typer.Exit(1)
        console.print("no BtpOperator exists, and no reclaim is open")
        if end_resync:
            console.print(asyncio.run(_last_step(options)), soft_wrap=True)

    @command(app, "end-resync")
    def end(options: Options) -> None:
        """Delete the Schedule of resyncs in Temporal, after an uninstallation: nobody would serve what it starts."""
        show.write(console, [show.sentence(asyncio.run(_after_the_last_worker(options)))])


async def _look(options: Options) -> tuple[list[str], list[str]]:
    async with cluster(options) as here:
        operators = await answered(_operators(here.kube, options.namespace), here.who, options.timeout)
        if not await answered(may_reclaim(here.kube), here.who, options.timeout):
            return operators, []
        return operators, await _reclaims(here, options)


async def _operators(kube: Kube, namespace: str) -> list[str]:
    pages = kube.pages(BTP_OPERATORS, namespace or None, metadata_only=True)
    try:
        return [f"{obj['metadata']['namespace']}/{obj['metadata']['name']}" async for page, _ in pages for obj in page]
    except NotFound:  # no CustomResourceDefinition, so none can exist
        return []


async def may_reclaim(kube: Kube) -> bool:
    """Whether anything can be reclaimed: without Secret sap-btp-reclaim Temporal need not be asked."""
    return await kube.find(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE, metadata_only=True) is not None


async def _reclaims(here: Cluster, options: Options) -> list[str]:
    client = await temporal(options)
    return await answered(open_reclaims(client, here.identity.task_queue), "Temporal", options.timeout)


async def open_reclaims(client: Client, task_queue: str) -> list[str]:
    """The workflow ids of the reclaims that a task queue's workers have to go on with.

    Raises:
        RPCError: Temporal does not say.
    """
    query = f"WorkflowType = '{RECLAIM_WORKFLOW}' AND ExecutionStatus = 'Running' AND TaskQueue = '{task_queue}'"
    return [plain(run.id) async for run in client.list_workflows(query, limit=MOST_NAMED)]


async def _last_step(options: Options) -> str:
    """The workers are about to go. That Temporal is away for good may be why: it is no reason to stay."""
    try:
        return await _end_resync(options)
    except (CommandError, SettingsError) as error:
        return f"the resync stays in Temporal, and `btpctl end-resync` ends it later: {error}"


async def _after_the_last_worker(options: Options) -> str:
    async with connected(options) as ends:
        queue = ends.cluster.identity.task_queue
        alive = await answered(workers(ends.temporal, queue), "Temporal", options.timeout)
    if alive:
        raise CommandError(
            f"workers asked task queue {queue} for work within the last {RECENT.total_seconds():.0f} s, and would make "
            f"the Schedule again: uninstall them first: {', '.join(some(alive))}"
        )
    return await _end_resync(options)


async def _end_resync(options: Options) -> str:
    async with connected(options) as ends:
        here = ends.cluster.identity
        ended = await answered(end_resync(here, ends.temporal), "Temporal", options.timeout)
    return f"schedule {schedule_id(here.task_queue)} {'is deleted' if ended else 'does not exist'}"
