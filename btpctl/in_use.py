"""`btpctl in-use`: what keeps the manager from being uninstalled, since nobody would go on with it."""

import asyncio
from typing import Final

import typer
from rich.console import Console
from temporalio.client import Client

from btpctl import show
from btpctl.connections import Cluster, cluster, temporal
from btpctl.errors import answered
from btpctl.options import Options, command
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS, SECRETS
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET, RECLAIM_WORKFLOW
from models.text import plain

MOST_NAMED: Final = 20


def register(app: typer.Typer, console: Console) -> None:
    """Add the command to the command line."""

    @command(app, "in-use")
    def in_use(options: Options) -> None:
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


async def _look(options: Options) -> tuple[list[str], list[str]]:
    async with cluster(options) as here:
        operators = await answered(_operators(here.kube, options.namespace), here.who, options.timeout)
        if not await answered(may_reclaim(here.kube), here.who, options.timeout):
            return operators, []
        return operators, await _reclaims(here, options)


async def _operators(kube: Kube, namespace: str) -> list[str]:
    try:
        found = await kube.list(BTP_OPERATORS, namespace or None, metadata_only=True)
    except NotFound:  # no CustomResourceDefinition, so none can exist
        return []
    return [f"{obj['metadata']['namespace']}/{obj['metadata']['name']}" for obj in found.items]


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
