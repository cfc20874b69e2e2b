"""What a user sets of the operand's chart: read once from a file, and laid below what the manager sets itself.

Which values there are, and of which form, the chart's schema says; Helm holds against it what is given.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography.x509 import load_pem_x509_certificates

SETTING: Final = "BTP_OPERAND_VALUES"
LARGEST: Final = 1024 * 1024
"""Bytes of the file: as much as a ConfigMap holds."""
OF_THE_MANAGER: Final[Mapping[str, str]] = {
    "cluster": "comes from Secret sap-btp-manager",
    "manager.management_namespace": "comes from Secret sap-btp-manager",
    "manager.secret.data": "comes from Secret sap-btp-manager",
    "manager.webhook": "comes from the manager, which makes the webhook certificates",
    "manager.rbac": "is the setting BTP_OPERAND_RBAC",
    "manager.image.reference": "is the setting BTP_OPERAND_IMAGE",
}
"""Values that nobody else may give, and where they come from."""
Values = dict[str, Any]


def read_operand_values(path: str, pull_secret: str = "") -> Values:
    """The values of the file, and the pull secret among them.

    Raises:
        ValueError: one sentence that names the setting and what is wrong with its file.
    """
    values = _read(Path(path)) if path else {}
    if trouble := next(_troubles(values), ""):
        raise ValueError(f"{SETTING}: {trouble}")
    if pull_secret:
        manager = values["manager"] = values.get("manager") or {}
        known = manager.get("imagePullSecrets") or []
        if {"name": pull_secret} not in known:
            manager["imagePullSecrets"] = [*known, {"name": pull_secret}]
    return values


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Values:
    """Both, maps joined key by key as Helm joins files of values; of what both have, `above` wins."""
    result = dict(below)
    for key, value in above.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result


def certificates_of(values: Mapping[str, Any]) -> list[str]:
    """The CA certificates, in PEM, that the operand shall trust besides those of its image."""
    return list((values.get("manager") or {}).get("customCACerts") or [])


def _read(path: Path) -> Values:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{SETTING}: {path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise ValueError(f"{SETTING}: {path} is larger than {LARGEST // 1024} KiB")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content)):
            raise ValueError(f"{SETTING}: {path} uses aliases of YAML, which could make it grow without an end")
        # Through JSON, which has neither dates nor sets: those are texts.
        values = json.loads(json.dumps(yaml.safe_load(content) or {}, default=str))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f"{SETTING}: {path} is no YAML{f', line {mark.line + 1}' if mark else ''}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{SETTING}: {path} holds a {type(values).__name__}, not a map of values")
    return values


def _troubles(values: Values) -> Iterator[str]:
    manager = values.get("manager")
    if manager is not None and not isinstance(manager, dict):
        yield f"manager is a {type(manager).__name__}, not a map"
        return
    for name, source in OF_THE_MANAGER.items():
        if _has(values, name):
            yield f"{name} cannot be set here: it {source}"
    secrets = (manager or {}).get("imagePullSecrets")
    if secrets is not None and not isinstance(secrets, list):
        yield "manager.imagePullSecrets is no list"
    certificates = (manager or {}).get("customCACerts")
    if certificates is not None and not isinstance(certificates, list):
        yield "manager.customCACerts is no list"
        return
    for number, text in enumerate(certificates or []):
        try:
            load_pem_x509_certificates(str(text).encode())
        except ValueError:
            yield f"manager.customCACerts[{number}] holds no certificates in PEM"


def _has(values: Mapping[str, Any], name: str) -> bool:
    found: Any = values
    for part in name.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True
