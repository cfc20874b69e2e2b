"""Looks whether the certificate at the token URL can be trusted: told beside Ready, for it takes nothing from it."""

import hashlib
import time
from typing import Final

from prometheus_client import Gauge
from temporalio import activity

from activities.edge import checked
from kube.client import Kube
from kube.errors import KubeError
from models.mandate import Mandate
from models.status import Finding
from operand.credentials import read_credentials
from operand.operand_values import certificates_of
from operand.rendering import ChartRenderer
from operand.token_url import Trust, look

FRESH: Final = 60.0
"""Seconds for which a look counts: a CR that is looked at often costs no more connections."""
TRUSTED: Final = Gauge(
    "btp_token_url_trusted",
    "Whether the certificate at the token URL can be trusted: 1 yes, 0 no, NaN where nobody answers or was asked",
)
TRUSTED.set(Trust.UNKNOWN.value)


class TrustActivities:
    """Remembers the last look: `_known` is for a URL, by its digest, and for a point in time."""

    def __init__(self, kube: Kube, renderer: ChartRenderer, any_address: bool = False) -> None:
        """Args:
        any_address: let the token URL be inside of the cluster or the network: for tests.
        """
        self._kube = kube
        self._renderer = renderer
        self._any_address = any_address
        self._known: tuple[str, float, str] = ("", 0.0, "")

    @activity.defn
    @checked
    async def check_token_url(self, mandate: Mandate) -> str:
        """Why the operand will not get tokens, in words without the URL; empty if it will, or if nobody knows."""
        try:
            credentials = await read_credentials(self._kube, self._any_address)
        except KubeError:
            return ""
        if isinstance(credentials, Finding):
            return ""
        url = credentials.token_url
        key = hashlib.sha256(url.encode()).hexdigest()
        known, until, doubt = self._known
        if known == key and time.monotonic() < until:
            return doubt
        trust, why = await look(url, certificates_of(self._renderer.given), self._any_address)
        TRUSTED.set(trust.value)
        doubt = f"the certificate at tokenurl is not trusted: {why}" if trust is Trust.NOT_TRUSTED else ""
        self._known = (key, time.monotonic() + FRESH, doubt)
        return doubt
