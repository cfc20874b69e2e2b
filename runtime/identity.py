"""Which cluster a process serves, and on which task queue: two clusters never meet by default."""

import asyncio
from dataclasses import dataclass

import structlog

from dispatch.names import default_task_queue
from kube.backoff import pause_after
from kube.client import Kube
from kube.errors import KubeError
from runtime.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Identity:
    """The cluster, by the uid of its Namespace kube-system, and its task queue."""

    cluster: str
    task_queue: str


async def identity_of(kube: Kube, settings: Settings) -> Identity:
    """Ask the API server which cluster it serves.

    Raises:
        KubeError: it does not say.
    """
    cluster = await kube.cluster_uid()
    return Identity(cluster, settings.task_queue or default_task_queue(cluster))


async def wait_for_identity(kube: Kube, settings: Settings) -> Identity:
    """The same, tried again until the API server answers."""
    failures = 0
    while True:
        try:
            return await identity_of(kube, settings)
        except KubeError as error:
            if not failures:  # one line, not one for each retry
                log.warning("waiting for the API server", cluster=kube.host, error=str(error))
            failures += 1
            await asyncio.sleep(pause_after(failures))
