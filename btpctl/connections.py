"""Both ends, for a command that is over in a second: whoever does not answer is named, nothing is tried for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError

from dispatch.names import workflow_id
from kube.client import Kube
from kube.errors import KubeError
from models.mandate import Mandate
from models.operators import OperatorRef
from runtime.connect import client_config, data_converter
from runtime.identity import Identity, identity_of
from runtime.settings import Settings, SettingsError

PATIENCE = 5.0


class CommandError(Exception):
    """The command cannot do what it was asked; the message is one sentence with the next step."""


@dataclass(frozen=True)
class Ends:
    """Connections to both ends: the cluster, and the Temporal namespace that serves it."""

    kube: Kube
    temporal: Client
    identity: Identity

    def workflow_id(self, ref: OperatorRef) -> str:
        """The id of the workflow of a CR of this cluster."""
        return workflow_id(Mandate(cluster=self.identity.cluster, ref=ref), self.identity.task_queue)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Ends]:
    """Both clients while the block runs.

    Raises:
        CommandError: one of them cannot be reached.
    """
    kube = await cluster()
    try:
        try:
            identity = await identity_of(kube, settings)
        except KubeError as error:
            raise CommandError(f"the cluster at {kube.host} does not answer: {error}") from error
        yield Ends(kube, await temporal(settings), identity)
    finally:
        await kube.close()


async def cluster() -> Kube:
    """The cluster; raises CommandError if no configuration leads to one."""
    try:
        return await Kube.from_environment()
    except ValueError as error:
        raise CommandError(str(error)) from error


async def temporal(settings: Settings) -> Client:
    """Temporal; raises CommandError if it does not answer."""
    try:
        config = client_config(settings)
    except SettingsError as error:
        raise CommandError(str(error)) from error
    try:
        async with asyncio.timeout(PATIENCE):
            return await Client.connect(**config, data_converter=data_converter(settings, config.get("namespace")))
    except (RuntimeError, RPCError, TimeoutError) as error:
        why = str(error)[:200] or "no answer"
        raise CommandError(
            f"Temporal at {config['target_host']} cannot be reached (TEMPORAL_ADDRESS): {why}"
        ) from error
