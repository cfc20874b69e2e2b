"""Both ends, for a command that is over in a second: whoever does not answer is named, nothing is tried for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError

from btpctl.errors import CommandError, NoAnswer, NoRight, answered, in_words
from btpctl.options import Options
from dispatch.names import workflow_id
from kube.client import Kube
from models.mandate import Mandate
from models.operators import OperatorRef
from models.text import plain
from runtime.connect import client_config, data_converter
from runtime.identity import Identity, identity_of


@dataclass(frozen=True)
class Cluster:
    """A connection to one cluster, and the names under which Temporal knows it."""

    kube: Kube
    identity: Identity

    @property
    def who(self) -> str:
        """What messages call it."""
        return f"the cluster at {self.kube.host}"

    def mandate(self, ref: OperatorRef) -> Mandate:
        return Mandate(cluster=self.identity.cluster, ref=ref)

    def workflow_id(self, ref: OperatorRef) -> str:
        """The id of the workflow of a CR of this cluster."""
        return workflow_id(self.mandate(ref), self.identity.task_queue)


@dataclass(frozen=True)
class Ends:
    """Connections to both ends: the cluster, and the Temporal namespace that serves it."""

    cluster: Cluster
    temporal: Client

    @property
    def kube(self) -> Kube:
        return self.cluster.kube


@asynccontextmanager
async def kubernetes(options: Options) -> AsyncIterator[Kube]:
    """A client for the cluster while the block runs.

    Raises:
        CommandError: no configuration leads to a cluster.
    """
    try:
        kube = await answered(
            Kube.from_environment(options.context), "the way to credentials for the cluster", options.timeout
        )
    except ValueError as error:
        raise CommandError(plain(error)) from error
    try:
        yield kube
    finally:
        await kube.close()


@asynccontextmanager
async def cluster(options: Options) -> AsyncIterator[Cluster]:
    """The same, once the cluster has said which one it is.

    Raises:
        CommandError: it does not.
    """
    settings = options.settings()
    async with kubernetes(options) as kube:
        who = f"the cluster at {kube.host}"
        yield Cluster(kube, await answered(identity_of(kube, settings), who, options.timeout))


@asynccontextmanager
async def connected(options: Options) -> AsyncIterator[Ends]:
    """Both clients while the block runs.

    Raises:
        CommandError: one of them cannot be reached.
    """
    async with cluster(options) as here:
        yield Ends(here, await temporal(options))


async def temporal(options: Options) -> Client:
    """A client for Temporal.

    Raises:
        CommandError: it does not answer, or not to us.
        SettingsError: what the environment says of it cannot be used.
    """
    settings = options.settings()
    config = client_config(settings)
    who = temporal_name(config["target_host"])
    converter = data_converter(settings, config.get("namespace"))
    try:
        async with asyncio.timeout(options.timeout):
            return await Client.connect(**config, data_converter=converter)
    except TimeoutError as error:
        raise NoAnswer(f"{who} did not answer within {options.timeout:g} s") from error
    except (RuntimeError, RPCError) as error:
        said = str(error)
        if "Unauthenticated" in said or "PermissionDenied" in said:
            raise NoRight(f"{who} does not let you in: {plain(said)}") from error
        raise NoAnswer(f"{who} cannot be reached: {in_words(plain(said))}") from error


def temporal_name(address: str) -> str:
    """What messages call it, with the option that leads elsewhere."""
    return f"Temporal at {address} (--temporal-address)"
