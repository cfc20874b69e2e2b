"""What a deletion would leave behind in SAP BTP if it ended now: shown before a person ends it."""

from btpctl.connections import Cluster
from btpctl.errors import answered
from btpctl.options import Options
from kube.client import Kube
from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES
from models.deprovision import AbandonedObject
from operand.abandoned_report import as_abandoned
from operand.service_objects import none_if_undefined

Found = list[tuple[str, AbandonedObject]]
"""Service objects with their uids."""


async def service_objects(here: Cluster, options: Options) -> Found:
    """Every ServiceBinding and ServiceInstance of the cluster, bindings first.

    Raises:
        CommandError: they cannot be listed.
    """
    return await answered(_listed(here.kube), here.who, options.timeout)


async def _listed(kube: Kube) -> Found:
    found: Found = []
    for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        async with none_if_undefined(kube, resource):
            async for page, _ in kube.pages(resource):
                found += [(obj["metadata"]["uid"], as_abandoned(resource, obj)) for obj in page]
    return found
