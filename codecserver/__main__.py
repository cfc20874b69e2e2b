"""Serves /decode until it is told to stop."""

import structlog
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client

from codecserver.readers import Readers
from codecserver.server import application
from runtime.codec import EncryptionCodec
from runtime.connect import client_config
from runtime.contacts import Contact
from runtime.pages import listening, pages
from runtime.process import leave, run
from runtime.settings import CodecServerSettings, SettingsError
from runtime.telemetry import SdkTelemetry

log = structlog.get_logger(__name__)


async def main(settings: CodecServerSettings) -> None:
    """The whole life of the process, until it is cancelled."""
    keys = settings.payload_key.get_secret_value()
    if not keys:
        raise SettingsError("BTP_PAYLOAD_KEY: empty, so there is nothing to decode; give it the key of the worker")
    sdk = SdkTelemetry()
    # Whoever asks brings an authorization. One of our own would answer for all of them.
    config = client_config(settings) | {"api_key": None, "lazy": True}
    client = await Client.connect(**config, runtime=sdk.runtime)

    async def ask() -> None:
        await client.workflow_service.get_system_info(GetSystemInfoRequest())

    temporal = Contact(f"Temporal at {config['target_host']}", ask)
    codec = EncryptionCodec(keys, client.namespace)
    app = application(codec, Readers(client).may, client.namespace, settings.origins())
    async with (
        pages(settings.health_address, settings.metrics_address, lambda: "", lambda: temporal.trouble, sdk),
        listening(app, "BTP_CODEC_ADDRESS", settings.codec_address),
    ):
        log.info("serving", address=settings.codec_address, namespace=client.namespace)
        await temporal.follow()


if __name__ == "__main__":
    leave(run("codecserver", CodecServerSettings, main))
