"""Whether the Go manager (kyma-project/btp-manager) runs in this cluster. Two managers would undo each other's work."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import DEPLOYMENTS, LEASES
from models.names import GO_MANAGER_DEPLOYMENT, GO_MANAGER_LEASE, KYMA_NAMESPACE

RECENTLY: Final = timedelta(minutes=1)
"""It renews its Lease every two seconds. Its clock and ours may differ by as much."""


async def other_manager(kube: Kube) -> str:
    """By what one sees that the Go manager runs, or is about to; empty where it does not.

    Raises:
        KubeError: the API server does not say.
    """
    named = f"metadata.name={GO_MANAGER_DEPLOYMENT}"  # a list, which the worker may ask for already
    deployments, lease = await asyncio.gather(
        kube.list(DEPLOYMENTS, KYMA_NAMESPACE, fields=named), kube.find(LEASES, GO_MANAGER_LEASE, KYMA_NAMESPACE)
    )
    for deployment in deployments.items:
        replicas = (deployment.get("spec") or {}).get("replicas", 1)
        if replicas:
            return f"{DEPLOYMENTS.named(deployment)} has replicas: {replicas}"
    if lease and _is_held(lease, datetime.now(UTC)):
        return f"{LEASES.named(lease)} was renewed within the last minute"
    return ""


def _is_held(lease: Object, now: datetime) -> bool:
    spec = lease.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(str(spec.get("renewTime") or "").replace("Z", "+00:00"))
        return bool(spec.get("holderIdentity")) and abs(now - renewed) < RECENTLY
    except (ValueError, TypeError):
        return False  # never renewed, or not a time
