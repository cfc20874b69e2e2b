"""What the Go manager was told, in its ConfigMap or by flags, and the Helm value of ours that says the same.

Every key that it knows is here: with the value it becomes, or with the reason why it becomes none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError

from kube.answers import Object, pod_spec
from models.durations import parse_duration, show_duration
from models.text import plain
from runtime.settings import WorkerSettings

DURATIONS: Final[Mapping[str, str]] = {
    "ReadyTimeout": "ready_timeout",
    "HardDeleteTimeout": "hard_delete_timeout",
    "DeleteRequestTimeout": "delete_request_timeout",
    "ReadyStateRequeueInterval": "resync_interval",
}
"""Its key, and our setting of the same meaning."""
FIXED: Final[Mapping[str, str]] = {
    "ChartNamespace": "kyma-system",
    "SecretName": "sap-btp-manager",
    "DeploymentName": "sap-btp-operator-controller-manager",
}
"""Names that cannot be changed here, and what they are."""
NONE: Final[Mapping[str, str]] = {
    "ConfigName": "settings are Helm values; no ConfigMap is read",
    "ChartPath": "the operand's chart is in the image",
    "ResourcesPath": "the operand's chart is in the image",
    "ManagerResourcesPath": "its own objects come with chart/btp-manager",
    "ProcessingStateRequeueInterval": "changes are watched, and a failed step is tried again by Temporal",
    "ReadyCheckInterval": "readiness is watched, not asked for",
    "HardDeleteCheckInterval": "deletions are watched, not asked for",
    "StatusUpdateTimeout": "the status is one write; nothing waits to read it back",
    "StatusUpdateCheckInterval": "the status is one write; nothing waits to read it back",
    "CaCertificateExpiration": "fixed: a CA for ten years, whose key is thrown away",
    "WebhookCertificateExpiration": "fixed: a year",
    "ExpirationBoundary": "fixed: renewed 30 days before the end",
    "RsaKeyBits": "keys are ECDSA P-256",
    "ProbeInterval": "no probe runs as a Job",
}
LIMITED_CACHE: Final = "EnableLimitedCache"
KNOWN: Final = frozenset({*DURATIONS, *FIXED, *NONE, LIMITED_CACHE})
_FLAG: Final = re.compile(r"--?([a-z][a-z-]*)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Translation:
    """One key of the Go manager's."""

    key: str
    value: str
    becomes: str = ""
    """Path of the Helm value; empty where there is none to set."""
    as_value: str | bool = ""
    why: str = ""
    """Why it becomes nothing."""
    stands_in_the_way: bool = False
    """This manager cannot do what the key asks for."""


def translate(data: Mapping[str, str]) -> list[Translation]:
    """Each key, in order."""
    return [_translate(plain(key, 100), plain(value, 200)) for key, value in sorted(data.items())]


def helm_values(translations: list[Translation]) -> dict[str, Any]:
    """What is to be set, as chart/btp-manager takes it."""
    values: dict[str, Any] = {}
    for each in translations:
        if each.becomes:
            *folders, name = each.becomes.split(".")
            into = values
            for folder in folders:
                into = into.setdefault(folder, {})
            into[name] = each.as_value
    return values


def told(config: Object | None, deployment: Object | None) -> dict[str, str]:
    """What the Go manager goes by: its ConfigMap, and where that is silent the flags of its Deployment."""
    data = (config or {}).get("data") or {}
    return {**_flags(deployment), **{str(key): str(value) for key, value in data.items()}}


def _flags(deployment: Object | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for container in pod_spec(deployment or {}).get("containers") or []:
        for argument in container.get("args") or []:
            if flag := _FLAG.fullmatch(str(argument)):
                key = "".join(word.capitalize() for word in flag[1].split("-"))
                found |= {key: flag[2]} if key in KNOWN else {}
    return found


def _translate(key: str, value: str) -> Translation:
    if key in DURATIONS:
        return _duration(key, value, DURATIONS[key])
    if key == LIMITED_CACHE:
        if value in ("true", "false"):
            if value == "true":
                return Translation(key, value, why="as here by default")
            return Translation(key, value, "operand.manager.enable_limited_cache", False)
        return Translation(key, value, why="neither true nor false", stands_in_the_way=True)
    if key in FIXED:
        same = value == FIXED[key]
        why = "the same here" if same else f"fixed here: {FIXED[key]}"
        return Translation(key, value, why=why, stands_in_the_way=not same)
    return Translation(key, value, why=NONE.get(key, "the Go manager does not know it either"))


def _duration(key: str, value: str, field: str) -> Translation:
    try:
        wanted = parse_duration(value)
    except ValueError:
        return Translation(key, value, why="not a duration that can be read; the Go manager's default holds")
    if wanted == WorkerSettings.model_fields[field].default:
        return Translation(key, value, why="as here by default")
    if trouble := _trouble(field, wanted):
        return Translation(key, value, why=trouble, stands_in_the_way=True)
    return Translation(key, value, f"settings.BTP_{field.upper()}", show_duration(wanted))


def _trouble(field: str, wanted: timedelta) -> str:
    """Why our setting does not accept it."""
    try:
        WorkerSettings.model_validate({field: show_duration(wanted)})
    except ValidationError as error:
        said = [each["msg"].removeprefix("Value error, ") for each in error.errors() if each["loc"][:1] == (field,)]
        return "; ".join(said)
    return ""
