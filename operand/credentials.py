"""Reads Secret `sap-btp-manager`. Its values stay in the activity that called: only verdicts travel."""

import base64
import json
from typing import Any, Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import CONFIG_MAPS, NAMESPACES, SECRETS
from models.conditions import Reason
from models.credentials import CREDENTIALS_NAMESPACE_KEY, text_values, verdict
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE, OPERAND_CONFIG, OPERAND_CREDENTIALS_SECRET
from models.status import Finding
from operand.traces import installed_namespaces, our_credentials

_OF_THE_CHART: Final = ("tokenurlsuffix",)
"""What the chart adds to the operand's Secret by itself."""
SECRET_LINE: Final = 8
"""Characters from which on a line of a value is worth hiding by itself."""


class Credentials:
    """The approved contents of the Secret. Has no `repr` that shows them."""

    def __init__(self, secret: Object) -> None:
        self._data: dict[str, str] = dict(secret.get("data") or {})
        self._as_stored = list(self._data.values())
        texts = text_values(secret)
        # Handed on as they were judged: without the line end that `echo` leaves behind.
        self._data |= {
            key: base64.b64encode(text.encode()).decode() for key, text in texts.items() if key in self._data
        }
        self.cluster_id = texts["cluster_id"]
        self.token_url = texts["tokenurl"]
        self.namespace = texts.get(CREDENTIALS_NAMESPACE_KEY) or KYMA_NAMESPACE
        """Where the operand's own credentials Secret lives."""

    def values(self) -> dict[str, Any]:
        """Chart values. Every other key of the Secret is handed on as it is (for example tls.crt and tls.key)."""
        passed_on = {
            key: value for key, value in self._data.items() if key not in ("cluster_id", CREDENTIALS_NAMESPACE_KEY)
        }
        return {
            "cluster": {"id": self.cluster_id},
            "manager": {"management_namespace": self.namespace, "secret": {"data": passed_on}},
        }

    def scrub(self, text: str) -> str:
        """The text without any value of the Secret, plain or encoded: for messages of others that may quote one."""
        for encoded in sorted({*self._data.values(), *self._as_stored}, key=len, reverse=True):
            plain = base64.b64decode(encoded).decode(errors="replace").strip()
            # Of a key in PEM a message may quote a line, and a value in quotes may be escaped (JSON, Go's %q).
            lines = sorted((line for line in plain.splitlines() if len(line) >= SECRET_LINE), key=len, reverse=True)
            for value in (encoded, plain, json.dumps(plain)[1:-1], *lines):
                if len(value) > 3:  # shorter ones would garble the sentence and give nothing away
                    text = text.replace(value, "***")
        return text


async def read_credentials(kube: Kube, any_address: bool = False) -> Credentials | Finding:
    """The credentials, or why they cannot be used. Any Secret of that name counts, whatever its labels.

    Args:
        any_address: also with addresses of http: for tests.
    """
    secret = await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    if secret is None and (missing := await _namespace_trouble(kube)):
        return missing
    if finding := verdict(secret, any_address=any_address):
        return Finding(reason=finding[0], message=finding[1])
    assert secret is not None
    return Credentials(secret)


async def installed_credentials(kube: Kube) -> Credentials | Finding:
    """What the operand runs with, put together as if it stood in Secret sap-btp-manager; or why that is not enough."""
    namespace = next(iter(await installed_namespaces(kube)), KYMA_NAMESPACE)
    secret = await our_credentials(kube, namespace)
    data = {key: value for key, value in ((secret or {}).get("data") or {}).items() if key not in _OF_THE_CHART}
    config = await kube.find(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    cluster_id = ((config or {}).get("data") or {}).get("CLUSTER_ID")
    for key, text in (("cluster_id", cluster_id), (CREDENTIALS_NAMESPACE_KEY, namespace)):
        data |= {key: base64.b64encode(text.encode()).decode()} if text else {}
    # Of http or not: the operand runs with them, and is wanted back only to delete.
    if finding := verdict({"data": data}, f"{namespace}/{OPERAND_CREDENTIALS_SECRET}", any_address=True):
        return Finding(reason=finding[0], message=finding[1])
    return Credentials({"data": data})


async def _namespace_trouble(kube: Kube) -> Finding | None:
    namespace = await kube.find(NAMESPACES, KYMA_NAMESPACE)
    if namespace is None:
        text = f"Namespace {KYMA_NAMESPACE} does not exist; create it, then Secret {CREDENTIALS_SECRET} in it"
    elif namespace["metadata"].get("deletionTimestamp"):
        text = f"Namespace {KYMA_NAMESPACE} is being deleted; nothing can be installed into it"
    else:
        return None
    return Finding(reason=Reason.MISSING_NAMESPACE, message=text)
