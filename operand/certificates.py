"""The CA and the webhook server's certificate, kept in two Secrets and renewed before they run out."""

import asyncio
import base64
import binascii
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import Counter

from kube.client import Kube
from kube.resources import SECRETS
from models.names import (
    CA_SECRET,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    OPERAND_WEBHOOK_SERVICE,
    WEBHOOK_CERT_SECRET,
)
from operand import pki
from operand.mandated import MandatedKube
from operand.ownership import is_labelled

DNS_NAMES = [f"{OPERAND_WEBHOOK_SERVICE}.{KYMA_NAMESPACE}.svc", f"{OPERAND_WEBHOOK_SERVICE}.{KYMA_NAMESPACE}"]
REGENERATIONS = Counter("btp_certs_regenerations", "Certificates made anew", ("secret",))
log = structlog.get_logger(__name__)


async def ensure_certificates(kube: Kube, held: MandatedKube) -> str:
    """Have a usable CA and serving certificate in their Secrets. Returns the CA bundle in base64, for webhooks."""
    stored_ca, stored_serving = await asyncio.gather(
        kube.find(SECRETS, CA_SECRET, KYMA_NAMESPACE), kube.find(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE)
    )
    now = datetime.now(UTC)
    ca = _pair(stored_ca, "ca.crt", "ca.key")
    if ca is None or not pki.usable_ca(ca, now):
        ca, stored_ca = pki.with_previous(pki.new_ca(now), ca, now), None
        _made(CA_SECRET)
    if stored_ca is None or not is_labelled(stored_ca):
        await _store(held, CA_SECRET, {"ca.crt": ca.certificate, "ca.key": ca.key})
    serving = _pair(stored_serving, "tls.crt", "tls.key")
    if serving is None or not pki.usable_serving(serving, ca, DNS_NAMES, now):
        serving, stored_serving = pki.new_serving(ca, DNS_NAMES, now), None
        _made(WEBHOOK_CERT_SECRET)
    if stored_serving is None or not is_labelled(stored_serving):
        await _store(held, WEBHOOK_CERT_SECRET, {"tls.crt": serving.certificate, "tls.key": serving.key})
    return base64.b64encode(ca.certificate).decode()


async def certificates_are_usable(kube: Kube) -> str | None:
    """The CA bundle in base64 if both certificates can go on, else None. Changes nothing."""
    stored_ca, stored_serving = await asyncio.gather(
        kube.find(SECRETS, CA_SECRET, KYMA_NAMESPACE), kube.find(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE)
    )
    ca, serving = _pair(stored_ca, "ca.crt", "ca.key"), _pair(stored_serving, "tls.crt", "tls.key")
    now = datetime.now(UTC)
    if ca is None or not pki.usable_ca(ca, now) or not pki.usable_serving(serving, ca, DNS_NAMES, now):
        return None
    if not all(secret and is_labelled(secret) for secret in (stored_ca, stored_serving)):
        return None  # a removal would not find it
    return base64.b64encode(ca.certificate).decode()


def _made(name: str) -> None:
    REGENERATIONS.labels(name).inc()
    log.info("made a certificate", secret=f"{KYMA_NAMESPACE}/{name}")


def _pair(secret: dict[str, Any] | None, certificate: str, key: str) -> pki.Pair | None:
    data = (secret or {}).get("data") or {}
    try:
        return pki.Pair(base64.b64decode(data[certificate]), base64.b64decode(data[key]))
    except (KeyError, TypeError, binascii.Error):
        return None


async def _store(held: MandatedKube, name: str, data: dict[str, bytes]) -> None:
    await held.apply(
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": KYMA_NAMESPACE, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        },
    )
