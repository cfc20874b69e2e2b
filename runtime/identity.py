"""Which cluster a process serves, and on which task queue: two clusters never meet by default."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

import structlog

from dispatch.names import default_task_queue
from kube.client import Kube
from kube.errors import KubeError
from runtime.settings import Settings

LONGEST_PAUSE: Final = 5.0
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
    pause, said = 0.2, False
    while True:
        try:
            return await identity_of(kube, settings)
        except KubeError as error:
            if not said:  # one line, not one for each retry
                log.warning("waiting for the API server", cluster=kube.host, error=str(error))
                said = True
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, LONGEST_PAUSE)
