"""The connection to Temporal: waited for calmly while Temporal is away, made again when credentials have changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography import x509
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from kube.backoff import pause_after
from runtime.codec import EncryptionCodec
from runtime.contacts import Contact, RefusedError
from runtime.payloads import StrictPayloadConverter
from runtime.search_attributes import have_search_attributes
from runtime.settings import Settings, SettingsError

CONFIRMED_EVERY: Final = 60.0
"""Seconds between two questions that only somebody with rights in the namespace is answered."""
REFUSALS: Final = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
log = structlog.get_logger(__name__)


Preparation = Callable[[Client], Awaitable[None]]
"""Something to be had in the namespace before a process can work. Idempotent."""


class Temporal:
    """The way to the Temporal service that the environment names."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        """Raises:
        SettingsError: the TEMPORAL_* settings, the profile or a file that they name cannot be used.
        """
        self._runtime, self._settings = runtime, settings
        self._config = client_config(settings)
        self._client: Client | None = None
        self._why_not: Exception = ConnectionError("not connected yet")
        self._users: list[Callable[[Client], None]] = []
        self._unreadable = ""
        self._confirmed = -CONFIRMED_EVERY
        self._keep: Sequence[Preparation] = ()
        self.listed = False
        """Whether the namespace has our search attributes."""
        self.contact = Contact(f"Temporal at {self.address}", self._ask)
        """Whether it answers; whoever follows it also keeps the credentials those of now."""

    @property
    def address(self) -> str:
        return str(self._config["target_host"])

    @property
    def client(self) -> Client:
        """The client to use now. Not to be kept: another one may follow."""
        if self._client is None:
            raise self._why_not
        return self._client

    def tell(self, user: Callable[[Client], None]) -> None:
        """Call `user` with the client of now, and with each that takes its place."""
        user(self.client)
        self._users.append(user)

    async def connect(self, *prepare: Preparation, keep: Sequence[Preparation] = ()) -> None:
        """Connect and prepare the namespace; tried again until all is done.

        `keep` is done again about every minute, and after each outage: Temporal may have come back without its data.
        """
        failures = 0
        while True:
            try:
                self._config = self._read()
                client = await self._connect(self._config)
                self.listed = await have_search_attributes(client)
                for each in prepare:
                    await each(client)
                self._client, self._keep = client, keep
                await self.contact.look()  # whoever waits for this process does not wait for the next question too
                log.info("connected to Temporal", address=self.address, namespace=client.namespace)
                return
            except (RuntimeError, RPCError) as error:
                self._why_not = error
                if not failures:  # one line, not one for each retry
                    log.warning("waiting for Temporal", address=self.address, error=str(error)[:300])
                failures += 1
                await asyncio.sleep(pause_after(failures))

    async def _ask(self) -> None:
        """One cheap request, with the credentials of now: what changed on disk is used from here on.

        Raises:
            RefusedError: the service does not take our credentials, or a client certificate is past its end.
            RPCError, RuntimeError: no answer, or one that means it is away.
        """
        try:
            await self._renew()
            if time.monotonic() - self._confirmed < CONFIRMED_EVERY:
                # The cheapest there is: the server reads nothing for it, but takes it from anybody.
                await self.client.workflow_service.get_system_info(GetSystemInfoRequest())
            else:
                request = DescribeNamespaceRequest(namespace=self.client.namespace)
                await self.client.workflow_service.describe_namespace(request)
                if self._keep:
                    self.listed = await have_search_attributes(self.client)
                for each in self._keep:
                    await each(self.client)
                self._confirmed = time.monotonic()
        except (RPCError, RuntimeError) as error:
            self._confirmed = -CONFIRMED_EVERY
            if why := _refusal(error) or _expired(self._config):
                raise RefusedError(why) from error
            raise

    async def _renew(self) -> None:
        """Have a client with what the environment and its files say now."""
        config = self._read()
        if self._client is None or config == self._config:
            return
        client = await self._connect(config)
        self._config, self._client, self._confirmed = config, client, -CONFIRMED_EVERY
        log.info("read credentials for Temporal again", address=self.address)
        for user in self._users:
            user(client)

    def _read(self) -> dict[str, Any]:
        """The configuration of now; the one of before while a file of it cannot be read."""
        try:
            config = client_config(self._settings)
        except SettingsError as error:
            if str(error) != self._unreadable:  # one line for a state
                log.warning("credentials for Temporal cannot be read again", error=str(error)[:300])
            self._unreadable = str(error)
            return self._config
        self._unreadable = ""
        return config

    async def _connect(self, config: dict[str, Any]) -> Client:
        converter = data_converter(self._settings, config.get("namespace"))
        return await Client.connect(**config, runtime=self._runtime, data_converter=converter)


def client_config(settings: Settings) -> dict[str, Any]:
    """How to reach the Temporal service that the environment names. Two that are equal make equal clients.

    Raises:
        SettingsError: the TEMPORAL_* settings, the profile or a file that they name cannot be used.
    """
    try:
        config: dict[str, Any] = dict(ClientConfig.load_client_connect_config())
    except Exception as error:  # the SDK raises whatever its TOML reader and its Rust core meet
        raise SettingsError(f"TEMPORAL_*: {error}") from error
    if settings.temporal_api_key_file:
        config["api_key"] = _key_in(Path(settings.temporal_api_key_file))
    config.setdefault("target_host", "localhost:7233")
    return config


def _key_in(file: Path) -> str:
    try:
        key = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"BTP_TEMPORAL_API_KEY_FILE: {file} cannot be read: {error}") from error
    if not key:
        raise SettingsError(f"BTP_TEMPORAL_API_KEY_FILE: {file} is empty")
    return key


def data_converter(settings: Settings, namespace: str | None = None) -> DataConverter:
    """The converter of inputs and results; with a key it encrypts them, and believes only what the key signed."""
    keys = settings.payload_key.get_secret_value()
    codec = EncryptionCodec(keys, namespace or "default", settings.payload_strict) if keys else None
    return DataConverter(payload_converter_class=StrictPayloadConverter, payload_codec=codec)


def _refusal(error: Exception) -> str:
    """What the service said when it did not take our credentials; empty when it said something else."""
    if isinstance(error, RPCError):
        return error.message if error.status in REFUSALS else ""
    # A failed connect is told as text only, with the status of the SDK's first request in it.
    return str(error) if any(f"code: {each}" in str(error) for each in ("Unauthenticated", "PermissionDenied")) else ""


def _expired(config: dict[str, Any]) -> str:
    """That the client certificate is past its end, which a server tells by hanging up; empty when it is not."""
    tls = config.get("tls")
    if not isinstance(tls, TLSConfig) or not tls.client_cert:
        return ""
    try:
        end = x509.load_pem_x509_certificate(tls.client_cert).not_valid_after_utc
    except ValueError:
        return ""  # the SDK has refused it, in words
    return f"the client certificate ended at {end:%Y-%m-%d %H:%M:%S} UTC" if end < datetime.now(UTC) else ""
