"""The connection to Temporal: made when Temporal is there, waited for calmly while it is not."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from dispatch.search_attributes import SEARCH_ATTRIBUTES
from runtime.codec import EncryptionCodec
from runtime.settings import Settings, SettingsError

LONGEST_PAUSE: Final = 5.0
log = structlog.get_logger(__name__)


Preparation = Callable[[Client], Awaitable[None]]
"""Something to be had in the namespace before a process can work. Idempotent."""


async def connect(runtime: Runtime, settings: Settings, *prepare: Preparation) -> Client:
    """Connect to the Temporal service that the environment names, and prepare it; tried again until all is done.

    Raises:
        SettingsError: the TEMPORAL_* settings or the profile cannot be used.
    """
    config = {**client_config(settings), "runtime": runtime}
    said = False
    pause = 0.2
    while True:
        try:
            client = await Client.connect(**config)
            for each in (register_search_attributes, *prepare):
                await each(client)
            log.info("connected to Temporal", address=config["target_host"], namespace=client.namespace)
            return client
        except (RuntimeError, RPCError) as error:
            if not said:  # one line, not one for each retry
                log.warning("waiting for Temporal", address=config["target_host"], error=str(error)[:300])
                said = True
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_PAUSE)


def client_config(settings: Settings) -> dict[str, Any]:
    """How to reach the Temporal service that the environment names.

    Raises:
        SettingsError: the TEMPORAL_* settings or the profile cannot be used.
    """
    try:
        config: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    except Exception as error:  # the SDK raises whatever its TOML reader and its Rust core meet
        raise SettingsError(f"TEMPORAL_*: {error}") from error
    config.setdefault("target_host", "localhost:7233")
    key = settings.payload_key.get_secret_value()
    codec = EncryptionCodec(key) if key else None
    return {**config, "data_converter": replace(pydantic_data_converter, payload_codec=codec)}


async def register_search_attributes(client: Client) -> None:
    """Have our search attributes in the namespace; starting a workflow with an unknown one is refused."""
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
        log.info("registered search attributes", names=missing)
