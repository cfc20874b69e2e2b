"""Both ends, for a command that is over in a second: whoever does not answer is named, nothing is tried for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError

from kube.client import Kube
from runtime.connect import client_config, data_converter
from runtime.settings import Settings, SettingsError

PATIENCE = 5.0


class CommandError(Exception):
    """The command cannot do what it was asked; the message is one sentence with the next step."""


@dataclass(frozen=True)
class Ends:
    """The cluster and Temporal."""

    kube: Kube
    temporal: Client


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Ends]:
    """Both clients while the block runs.

    Raises:
        CommandError: one of them cannot be reached.
    """
    kube = await cluster()
    try:
        yield Ends(kube, await temporal(settings))
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
            return await Client.connect(**config, data_converter=data_converter(settings))
    except (RuntimeError, RPCError, TimeoutError) as error:
        why = str(error)[:200] or "no answer"
        raise CommandError(
            f"Temporal at {config['target_host']} cannot be reached (TEMPORAL_ADDRESS): {why}"
        ) from error
