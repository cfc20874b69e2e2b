"""Counts ServiceBindings and ServiceInstances, for progress and for decisions."""

import asyncio
import time
from typing import Final

from prometheus_client import Gauge
from temporalio import activity

from activities.edge import checked
from kube.answers import Object
from kube.client import Kube
from kube.readiness import unready
from kube.resources import DEPLOYMENTS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.deprovision import Remaining
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, OPERAND_DEPLOYMENT
from operand.ownership import managed
from operand.service_objects import first_few, named

NAMED: Final = 3
FRESH: Final = 150.0
"""Seconds for which a count is shown: while a deletion waits it is made anew every minute, by any of the workers."""
LEFT: Final = Gauge("btp_deprovision_remaining", "Service objects that a deletion waits for", ("kind",))


def _show(resource: Resource, count: int) -> None:
    until = time.monotonic() + FRESH
    LEFT.labels(resource.kind).set_function(lambda: count if time.monotonic() < until else 0)


class ServiceObjectActivities:
    """Counts, for progress and for decisions."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def count_service_objects(self, mandate: Mandate) -> Remaining:
        """How many service objects the cluster has. Three small requests, however many there are."""
        (bindings, some), (instances, more), operand = await asyncio.gather(
            self._count(SERVICE_BINDINGS),
            self._count(SERVICE_INSTANCES),
            self._operand(),
        )
        _show(SERVICE_BINDINGS, bindings)
        _show(SERVICE_INSTANCES, instances)
        return Remaining(
            bindings=bindings,
            instances=instances,
            some=(some + more)[:NAMED],
            operand_lost=operand is None,
            operand_trouble=unready(DEPLOYMENTS, operand) or "" if operand else "does not exist",
        )

    async def _operand(self) -> Object | None:
        there = await managed(self._kube, DEPLOYMENTS, KYMA_NAMESPACE)
        return next((obj for obj in there if obj["metadata"]["name"] == OPERAND_DEPLOYMENT), None)

    async def _count(self, resource: Resource) -> tuple[int, list[str]]:
        page = await first_few(self._kube, resource, NAMED)
        if page is None:
            return 0, []
        return len(page.items) + page.more, [named(resource, obj) for obj in page.items]
