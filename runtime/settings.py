"""Settings, read once at start from the environment. Their names are a contract.

docs/configuration.md is checked against the models here.

The cluster comes from KUBECONFIG or the pod, the Temporal connection from TEMPORAL_* as in every Temporal SDK.
"""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.durations import parse_duration
from models.limits import LONGEST, SHORTEST, Bounds, DeletionPolicy, Limits, OperandTeardown
from runtime.codec import EncryptionCodec

CHECKOUT = Path(__file__).parent.parent


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if duration < SHORTEST:
        raise ValueError(f"{value!r} is shorter than a second")
    if duration > LONGEST:
        raise ValueError(f"{value!r} is longer than {LONGEST.days} days")
    return duration


def _address(value: object) -> object:
    _, colon, port = str(value).rpartition(":")
    if value and not (colon and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{value!r} is not an address such as :8080 or 127.0.0.1:8080, or empty")
    return value


def _payload_key(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        EncryptionCodec(value.get_secret_value(), namespace="")
    return value


def _secret_name(value: str) -> str:
    if value and not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", value):
        raise ValueError(f"{value[:100]!r} is not the name of a Secret")
    return value


def _survives_a_worker(value: timedelta) -> timedelta:
    if value < timedelta(seconds=10):
        raise ValueError("shorter than 10s: it would be over before a lost worker is noticed")
    return value


S = TypeVar("S", bound="Settings")
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Address = Annotated[str, BeforeValidator(_address)]
METRICS: Final = "Where Prometheus reads /metrics; in a pod on every interface; empty turns it off."
HEALTH: Final = "Where probes read /healthz and /readyz; in a pod on every interface; empty turns it off."


class Settings(BaseSettings):
    """What worker and trigger share."""

    model_config = SettingsConfigDict(env_prefix="BTP_", frozen=True, extra="ignore")

    task_queue: str = Field(
        "",
        max_length=200,
        description="Temporal task queue, another for each cluster; empty: `btp-manager-` and the cluster's uid.",
    )
    ready_timeout: Duration = Field(
        timedelta(minutes=5), description="From the applied chart until all of it is ready."
    )
    hard_delete_timeout: Duration = Field(
        timedelta(minutes=20), description="For all ServiceBindings and ServiceInstances together; then soft delete."
    )
    last_attempt: Duration = Field(
        timedelta(minutes=2),
        description="For hard delete once more, where no worker or API server was there before its deadline.",
    )
    delete_request_timeout: Annotated[Duration, AfterValidator(_survives_a_worker)] = Field(
        timedelta(minutes=5), description="For what the chart installed to be deleted and seen gone."
    )
    resync_interval: Duration = Field(
        timedelta(minutes=15), description="How often every CR is looked at without any event."
    )
    reclaim_for: Duration = Field(
        timedelta(days=7), description="For deleting in SAP BTP what a soft delete abandoned; see docs/operations.md."
    )
    operand_teardown: OperandTeardown = Field(
        OperandTeardown.AUTO, description="When a deletion removes the operand: `first`, `last` or `auto`."
    )
    deletion: DeletionPolicy = Field(
        DeletionPolicy.CASCADE,
        description="While service objects exist, the deletion of a BtpOperator takes them along (`cascade`), or waits "
        'until they are gone or the label `force-delete: "true"` asks for it (`confirm`).',
    )
    metrics_address: Address = Field("127.0.0.1:8080", description=METRICS)
    health_address: Address = Field("127.0.0.1:8081", description=HEALTH)
    payload_key: Annotated[SecretStr, AfterValidator(_payload_key)] = Field(
        SecretStr(""),
        description="32 bytes in base64, to encrypt and sign what Temporal stores; empty turns it off. Of several, "
        "separated by commas, the first writes and each reads.",
    )
    payload_strict: bool = Field(
        True, description="With a payload key: refuse what is not encrypted. `false` only while a key is introduced."
    )
    temporal_api_key_file: str = Field(
        "", description="A file with the API key for Temporal, in place of `TEMPORAL_API_KEY`; read when it changes."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, one object a line; `console`, for people; `auto` looks for a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe level that is logged."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_pod_is_asked_from_outside(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Elsewhere the pages, which name CRs and clusters, are for this machine only unless somebody says more."""
        if "KUBERNETES_SERVICE_HOST" not in os.environ:
            return values
        ports = {
            name: field.default.rpartition(":")[2]
            for name, field in cls.model_fields.items()
            if name.endswith("_address") and isinstance(field.default, str)
        }
        return {name: f":{port}" for name, port in ports.items()} | values

    def limits(self) -> Limits:
        """The timeouts as workflows carry them in their input."""
        return Limits(
            ready_timeout=self.ready_timeout,
            hard_delete_timeout=self.hard_delete_timeout,
            last_attempt=self.last_attempt,
            delete_request_timeout=self.delete_request_timeout,
            reclaim_for=self.reclaim_for,
        )

    def bounds(self) -> Bounds:
        """What of this the input of a deletion may not undercut."""
        return Bounds(limits=self.limits(), operand_teardown=self.operand_teardown, deletion=self.deletion)


class WorkerSettings(Settings):
    """What only the worker reads."""

    chart_path: Path = Field(
        CHECKOUT / "chart" / "sap-btp-operator",
        description="The operand's Helm chart. Its values are this project's; "
        "a chart that does not use them is refused.",
    )
    operand_image: str = Field("", description="Overrides the operand's image; empty for the chart's.")
    operand_values: str = Field(
        "",
        description="A YAML file of values for the operand's chart, such as tolerations; what the manager sets itself "
        "cannot stand in it (docs/operand-values.md). Read at start.",
    )
    operand_pull_secret: Annotated[str, AfterValidator(_secret_name)] = Field(
        "",
        validation_alias=AliasChoices("BTP_OPERAND_PULL_SECRET", "SKR_IMG_PULL_SECRET"),
        description="A Secret in kyma-system with which nodes pull the operand's image; as `SKR_IMG_PULL_SECRET`, "
        "which Kyma's lifecycle-manager sets, it means the same.",
    )
    operand_rbac: bool = Field(
        True,
        description="Whether the operand's chart makes the operand's roles and bindings, for which the worker must "
        "hold every right in them. `false` where they are there already: `chart/btp-manager` brings them.",
    )
    installation: str = Field(
        "",
        pattern=r"^([^/]+/[^/]+/[^/]+)?$",
        description="Set by `chart/btp-manager`: namespace, Deployment and version of this worker. Of workers of "
        "several versions, those that the Deployment asks for now apply their chart. Empty: by hand, never newer.",
    )
    any_address: bool = Field(
        False,
        description="Lets Secrets sap-btp-manager and sap-btp-reclaim name http, and the latter addresses that are "
        "not on the internet: for tests.",
    )


class TriggerSettings(Settings):
    """The trigger's: the same, on other ports, so that both run on one host."""

    metrics_address: Address = Field("127.0.0.1:8082", description=METRICS)
    health_address: Address = Field("127.0.0.1:8083", description=HEALTH)


class CodecServerSettings(Settings):
    """The codec server's: on ports of its own."""

    metrics_address: Address = Field("127.0.0.1:8084", description=METRICS)
    health_address: Address = Field("127.0.0.1:8085", description=HEALTH)
    codec_address: Address = Field(
        "127.0.0.1:8086",
        min_length=1,
        description="Where the codec server answers Temporal's UI and command line; in a pod on every interface.",
    )
    codec_origins: str = Field(
        "",
        description="Where Temporal's UI is, as `https://HOST`, several separated by commas: whose page may call the "
        "codec server from a browser.",
    )

    def origins(self) -> frozenset[str]:
        return frozenset(filter(None, (each.strip().rstrip("/") for each in self.codec_origins.split(","))))


class SettingsError(Exception):
    """A setting is wrong. The message is one sentence that names the variable and what it accepts."""


def read_settings(kind: type[S]) -> S:
    """Read the environment.

    Raises:
        SettingsError: a value is not accepted.
    """
    try:
        return kind()
    except ValidationError as error:
        problems = [
            ": ".join([*(_variable(str(part)) for part in each["loc"]), _short(each["msg"])]) for each in error.errors()
        ]
        raise SettingsError("; ".join(problems)) from error


def _variable(part: str) -> str:
    """The variable behind a field, or behind an alias, which is one already."""
    return part if part.isupper() else f"BTP_{part.upper()}"


def _short(message: str) -> str:
    return message.removeprefix("Value error, ")
