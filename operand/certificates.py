"""The webhook server's certificate and the CAs that webhooks trust, in two Secrets, renewed before they run out.

The CA's Secret holds certificates only: its key signed once and is gone. Where that Secret is lost or broken, the
webhooks still say what they trust, and what is being served goes on.
"""

import asyncio
import base64
import binascii
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter

from kube.answers import Object
from kube.client import Kube
from kube.resources import MUTATING_WEBHOOKS, SECRETS, VALIDATING_WEBHOOKS
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
from operand.ownership import is_labelled, managed
from operand.unchangeable import apply_or_replace

DNS_NAMES = [f"{OPERAND_WEBHOOK_SERVICE}.{KYMA_NAMESPACE}.svc", f"{OPERAND_WEBHOOK_SERVICE}.{KYMA_NAMESPACE}"]
REGENERATIONS = Counter("btp_certs_regenerations", "Certificates made again", ("secret",))
for _secret in (CA_SECRET, WEBHOOK_CERT_SECRET):
    REGENERATIONS.labels(_secret)  # shown as 0: a rate needs a beginning
log = structlog.get_logger(__name__)


async def ensure_certificates(kube: Kube, held: MandatedKube) -> str:
    """Have a usable certificate and its CA in their Secrets. Returns the bundle that webhooks trust, in base64."""
    stored_ca, stored_serving = await _stored(kube)
    serving, now = _pair(stored_serving), datetime.now(UTC)
    known = [_value(stored_ca, "ca.crt")]
    bundle = pki.bundle(serving, known, DNS_NAMES, now)
    if bundle is None:
        known += await _trusted_by_webhooks(kube)
        bundle = pki.bundle(serving, known, DNS_NAMES, now)
    if bundle is None:
        serving, ca = pki.new_serving(DNS_NAMES, now)
        bundle = pki.bundle(serving, [ca, *known], DNS_NAMES, now) or ca
        for name in (CA_SECRET, WEBHOOK_CERT_SECRET):
            REGENERATIONS.labels(name).inc()
        log.info("made a certificate", secret=f"{KYMA_NAMESPACE}/{WEBHOOK_CERT_SECRET}")
        stored_serving = None
    # The CA first: whoever stops in between leaves webhooks that trust more than they need, never less.
    if stored_ca is None or not is_labelled(stored_ca) or _value(stored_ca, "ca.crt") != bundle:
        await _store(kube, held, CA_SECRET, {"ca.crt": bundle})
    if _has_key(stored_ca):  # another manager's, which server-side apply leaves alone
        await held.json_patch(SECRETS, CA_SECRET, KYMA_NAMESPACE, [{"op": "remove", "path": "/data/ca.key"}])
    if serving and (stored_serving is None or not is_labelled(stored_serving)):
        await _store(kube, held, WEBHOOK_CERT_SECRET, {"tls.crt": serving.certificate, "tls.key": serving.key})
    return base64.b64encode(bundle).decode()


async def certificates_are_usable(kube: Kube) -> str | None:
    """The bundle in base64 if both Secrets can stay as they are, else None. Changes nothing."""
    stored_ca, stored_serving = await _stored(kube)
    bundle = _value(stored_ca, "ca.crt")
    if pki.bundle(_pair(stored_serving), [bundle], DNS_NAMES, datetime.now(UTC)) != bundle or _has_key(stored_ca):
        return None
    if not all(secret and is_labelled(secret) for secret in (stored_ca, stored_serving)):
        return None  # a removal would not find it
    return base64.b64encode(bundle).decode()


async def _stored(kube: Kube) -> tuple[Object | None, Object | None]:
    return await asyncio.gather(
        kube.find(SECRETS, CA_SECRET, KYMA_NAMESPACE), kube.find(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE)
    )


async def _trusted_by_webhooks(kube: Kube) -> list[bytes]:
    """What the operand's webhooks trust now."""
    kinds = (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)
    listings = await asyncio.gather(*(managed(kube, kind, None) for kind in kinds))
    configurations = [each for listing in listings for each in listing]
    bundles = {
        str((hook.get("clientConfig") or {}).get("caBundle") or "")
        for configuration in configurations
        for hook in configuration.get("webhooks") or []
    }
    return [_decoded(bundle) for bundle in sorted(bundles)]


def _has_key(secret: Object | None) -> bool:
    return "ca.key" in ((secret or {}).get("data") or {})


def _pair(secret: Object | None) -> pki.Pair | None:
    pair = pki.Pair(_value(secret, "tls.crt"), _value(secret, "tls.key"))
    return pair if pair.certificate and pair.key else None


def _value(secret: Object | None, key: str) -> bytes:
    """A value of a Secret; empty if it is not there or not readable."""
    return _decoded(((secret or {}).get("data") or {}).get(key) or "")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (TypeError, ValueError, binascii.Error):
        return b""


async def _store(kube: Kube, held: MandatedKube, name: str, data: dict[str, bytes]) -> None:
    await apply_or_replace(
        kube,
        held,
        SECRETS,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": KYMA_NAMESPACE, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        },
    )
