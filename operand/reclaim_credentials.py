"""Reads Secret `sap-btp-reclaim`, whose presence is the consent. Its values stay in the activity that called.

It is a service key of plan subaccount-admin, as SAP BTP hands it out: by client secret or by certificate. The operand's
own credentials are never used instead: SAP gives them to the operand alone.
"""

import base64
import binascii
import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from kube.answers import Object
from kube.client import Kube
from kube.resources import CONFIG_MAPS, SECRETS
from kube.trust import trusting
from models.credentials import text_values
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE, OPERAND_CONFIG, RECLAIM_SECRET
from models.reclaim import digest_of
from operand.addresses import why_not_called

BY_SECRET: Final = ("clientid", "clientsecret", "sm_url", "url")
BY_CERTIFICATE: Final = ("certificate", "certurl", "clientid", "key", "sm_url")
LARGEST_PEM: Final = 32 * 1024
"""Bytes of a certificate chain or a key: less than a pipe holds."""


class Unusable(Exception):
    """Why nothing can be reclaimed: `str()` is a sentence that names keys, never values."""


@dataclass(frozen=True)
class ReclaimCredentials:
    """How to get at Service Manager as an administrator of the subaccount. Its `repr` shows no value."""

    sm_url: str = field(repr=False)
    token_url: str = field(repr=False)
    issuer: str = field(repr=False)
    """Where the subaccount's other tokens come from."""
    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)
    """Empty where the certificate stands for it."""
    tls: ssl.SSLContext = field(repr=False)
    any_address: bool
    version: str
    """Of the Secret that they were read from."""

    def scrub(self, text: str) -> str:
        """The text without the credentials: for messages of others that may quote them."""
        for value in (self.client_secret, self.client_id):
            if len(value) > 3:
                text = text.replace(value, "***")
        return text


async def read_reclaim_credentials(kube: Kube, any_address: bool) -> ReclaimCredentials:
    """The credentials.

    Args:
        any_address: also http, and addresses that are not on the internet: for tests.

    Raises:
        Unusable: the Secret is not there, incomplete, or names addresses that must not be called.
        KubeError: the API server did not answer.
    """
    secret = await kube.find(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
    where = f"Secret {KYMA_NAMESPACE}/{RECLAIM_SECRET}"
    if secret is None:
        raise Unusable(f"{where} does not exist")
    values = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
    by_certificate = not values.get("clientsecret")
    needed = BY_CERTIFICATE if by_certificate and values.get("certificate") else BY_SECRET
    if missing := [key for key in needed if not values.get(key)]:
        raise Unusable(f"{where} cannot be used: missing, empty or no text: {', '.join(missing)}")
    issuer = "certurl" if needed is BY_CERTIFICATE else "url"
    for key in ("sm_url", issuer):
        if why := why_not_called(values[key], any_address):
            raise Unusable(f"{where} cannot be used: {key} {why}")
    return ReclaimCredentials(
        sm_url=values["sm_url"].rstrip("/"),
        token_url=f"{values[issuer].rstrip('/')}/oauth/token",
        issuer=values.get("url") or values[issuer],
        client_id=values["clientid"],
        client_secret="" if needed is BY_CERTIFICATE else values["clientsecret"],
        tls=_tls(values["certificate"], values["key"], where) if needed is BY_CERTIFICATE else trusting(),
        any_address=any_address,
        version=_version(secret),
    )


async def is_still_wanted(kube: Kube, credentials: ReclaimCredentials) -> bool:
    """Whether the Secret is there as it was read: whoever removes or replaces it takes the consent back.

    Raises:
        KubeError: the API server did not answer.
    """
    secret = await kube.find(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE, metadata_only=True)
    return secret is not None and _version(secret) == credentials.version


async def is_of_the_operands_subaccount(kube: Kube, credentials: ReclaimCredentials) -> bool:
    """Whether they lead to the same Service Manager and the same authorization server as Secret sap-btp-manager."""
    operands = text_values(await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE) or {})
    theirs = [urlsplit(operands.get(key, "")).netloc for key in ("sm_url", "tokenurl")]
    return all(theirs) and theirs == [urlsplit(url).netloc for url in (credentials.sm_url, credentials.issuer)]


async def known_cluster(kube: Kube) -> str:
    """The digest of this cluster's id in SAP BTP, or "" if neither the operand nor Secret sap-btp-manager is there.

    The operand's word comes first: it gave the id to whatever it made.
    """
    config = await kube.find(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    cluster_id = str(((config or {}).get("data") or {}).get("CLUSTER_ID") or "")
    if not cluster_id:
        secret = await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
        cluster_id = text_values(secret or {}).get("cluster_id", "")
    return digest_of(cluster_id) if cluster_id else ""


def _version(secret: Object) -> str:
    return f"{secret['metadata']['uid']}/{secret['metadata']['resourceVersion']}"


def _tls(certificate: str, key: str, where: str) -> ssl.SSLContext:
    """OpenSSL reads certificates from files only. These are pipes: nothing of them is ever on a disk."""
    context = trusting()
    ends = [_pipe(certificate, where), _pipe(key, where)]
    try:
        chain, private = (f"/dev/fd/{end}" for end in ends)
        context.load_cert_chain(chain, private, password=lambda: b"")  # an encrypted key is not asked about
    except (ssl.SSLError, OSError, ValueError) as error:
        raise Unusable(f"{where} cannot be used: certificate and key do not load or do not fit together") from error
    finally:
        for end in ends:
            os.close(end)
    return context


def _pipe(text: str, where: str) -> int:
    content = text.encode()
    if len(content) > LARGEST_PEM:
        raise Unusable(f"{where} cannot be used: certificate or key is larger than {LARGEST_PEM // 1024} KiB")
    reading, writing = os.pipe()
    try:
        os.write(writing, content)
    finally:
        os.close(writing)
    return reading


def _decoded(value: Any) -> str:
    """The text without line ends around it; "" if it is none."""
    try:
        return base64.b64decode(value or "", validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
        return ""
