"""What Secret `sap-btp-manager` must hold, checked as a pure function. Values never leave this module's caller."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from models.conditions import Reason
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE

REQUIRED_KEYS: Final = ("clientid", "clientsecret", "sm_url", "tokenurl", "cluster_id")
URL_KEYS: Final = ("sm_url", "tokenurl")
CLIENT_SECRET_KEY: Final = "clientsecret"
CERTIFICATE_KEYS: Final = ("tls.crt", "tls.key")
"""Together they stand for `clientsecret`: the operand then asks for its tokens by mutual TLS."""
CREDENTIALS_NAMESPACE_KEY: Final = "credentials_namespace"
SECRET_REF: Final = f"{KYMA_NAMESPACE}/{CREDENTIALS_SECRET}"


def verdict(
    secret: Mapping[str, Any] | None, name: str = SECRET_REF, any_address: bool = False
) -> tuple[Reason, str] | None:
    """Why this Secret cannot be used, naming every missing key and every empty or unusable value; None if it can.

    Unusable is what the operand would refuse or stumble over when it has its first ServiceInstance.

    Args:
        any_address: let its URLs be of http, which shows the client secret to whoever is on the way: for tests.

    Names of keys only: the message goes into conditions and histories.
    """
    if secret is None:
        return Reason.MISSING_SECRET, f"Secret {name} does not exist; create it with keys {_join(REQUIRED_KEYS)}"
    data = secret.get("data") or {}
    decoded = {key: _decoded(data[key]) for key in (*REQUIRED_KEYS, CREDENTIALS_NAMESPACE_KEY) if key in data}
    by_certificate = all(data.get(key) for key in CERTIFICATE_KEYS)
    required = [key for key in REQUIRED_KEYS if not (by_certificate and key == CLIENT_SECRET_KEY)]
    findings = []
    missing = [key for key in required if key not in decoded]
    empty = [key for key in required if decoded.get(key) == ""]
    if missing:
        findings.append(f"missing keys: {_join(missing)}")
    if empty:
        findings.append(f"empty values: {_join(empty)}")
    if unreadable := [key for key, value in decoded.items() if value is None]:
        findings.append(f"values that are not text in UTF-8 without control characters: {_join(unreadable)}")
    unusable = [
        f"{key} ({why})" for key, value in decoded.items() if value and (why := _trouble(key, value, any_address))
    ]
    if by_certificate and CLIENT_SECRET_KEY not in decoded.keys() - empty and not _is_pair(data):
        unusable.append(f"{_join(CERTIFICATE_KEYS)} (no certificate in PEM with its private key)")
    if unusable:
        findings.append(f"values that the operand cannot use: {', '.join(sorted(unusable))}")
    if CLIENT_SECRET_KEY in missing + empty and any(key in data for key in CERTIFICATE_KEYS):
        findings.append(f"{_join(CERTIFICATE_KEYS)} stand for {CLIENT_SECRET_KEY} only together")
    if not findings:
        return None
    return Reason.INVALID_SECRET, f"Secret {name} cannot be used: {'; '.join(findings)}"


def is_namespace_name(text: str) -> bool:
    """Whether a namespace can have that name (a DNS label, RFC 1123)."""
    return re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", text) is not None


def text_values(secret: Mapping[str, Any]) -> dict[str, str]:
    """The decoded values by key that `verdict` has approved. Call only inside the activity that uses them."""
    data = secret.get("data") or {}
    keys = (*REQUIRED_KEYS, CREDENTIALS_NAMESPACE_KEY)
    return {key: value for key in keys if key in data and (value := _decoded(data[key])) is not None}


def _trouble(key: str, value: str, any_address: bool) -> str:
    """Why the operand cannot use a value; empty if it can."""
    if key in URL_KEYS and not _is_base_url(value):
        return "not a URL of https with a host and without a query"
    if key in URL_KEYS and not any_address and urlsplit(value).scheme != "https":
        return "not a URL of https: by http the client secret can be read on the way"
    if key == CREDENTIALS_NAMESPACE_KEY and not is_namespace_name(value):
        return "not the name of a namespace"
    if key == "cluster_id" and "'" in value:
        return "has a quotation mark, which ends it in the operand's queries"
    return ""


def _is_base_url(value: str) -> bool:
    """Whether a path can be appended to it, as the operand does."""
    try:
        url = urlsplit(value)
        has_port = url.port is None or url.port > 0
    except ValueError:
        return False
    plain = not re.search(r"[\s?#@\\]", value)
    return plain and has_port and url.scheme in ("http", "https") and bool(url.hostname)


def _is_pair(data: Mapping[str, Any]) -> bool:
    try:
        certificate, key = (base64.b64decode(data[name], validate=True) for name in CERTIFICATE_KEYS)
        known = load_pem_x509_certificate(certificate).public_key()
        return bool(known == load_pem_private_key(key, None).public_key())
    except (binascii.Error, TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _decoded(value: Any) -> str | None:
    """The text, stripped of the line ends that `echo` leaves behind; None if it is no printable text."""
    try:
        text = base64.b64decode(value or "", validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
        return None
    return text if text.isprintable() else None


def _join(keys: tuple[str, ...] | list[str]) -> str:
    return ", ".join(sorted(keys))
