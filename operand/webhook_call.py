"""One call that really goes through the operand's webhooks: whether somebody trusted answers there.

An endpoint that is ready and a bundle that is ours do not say that: the operand may still serve an old certificate.
"""

from typing import Final

import structlog

from kube.client import Kube
from kube.errors import KubeError, NotFound, Unavailable
from kube.resources import SERVICE_INSTANCES
from models.names import KYMA_NAMESPACE, WEBHOOK_CHECK

PATIENCE: Final = 5
"""Seconds within which the webhooks have to answer."""
UNREACHED: Final = "failed calling webhook"
"""How the API server says that it did not reach a webhook, or does not trust it; a refusal reads otherwise."""
log = structlog.get_logger(__name__)


async def webhook_call_trouble(kube: Kube, webhooks: list[str]) -> str | None:
    """Why a ServiceInstance could not be made because of one of these webhooks; None if it could.

    Nothing is made: it is a dry run. Whoever refuses it, a policy or a quota for instance, was reached or came before;
    that says nothing against the webhooks.
    """
    try:
        await kube.rehearse(SERVICE_INSTANCES, _INSTANCE, patience=PATIENCE)
    except NotFound:
        return f"{SERVICE_INSTANCES.kind}s are not served yet"
    except Unavailable as error:
        said = str(error)
        if error.status == 504 or (UNREACHED in said and any(f'"{name}"' in said for name in webhooks)):
            return f"the operand's webhooks do not work: {said[:500]}"
        if not error.status or error.status in (401, 429):
            raise  # the API server itself
        log.info("webhooks not called", error=said[:500])
    except KubeError as error:
        log.info("webhooks not called, or they refused", error=str(error)[:500])
    return None


_INSTANCE: Final = {
    "apiVersion": SERVICE_INSTANCES.api_version,
    "kind": SERVICE_INSTANCES.kind,
    "metadata": {"name": WEBHOOK_CHECK, "namespace": KYMA_NAMESPACE},
    "spec": {"serviceOfferingName": WEBHOOK_CHECK, "servicePlanName": WEBHOOK_CHECK},
}
