"""The activities of a deletion, called as a worker would, and service objects for them to remove."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from activities.hard_delete import HardDeleteActivities
from activities.service_objects import ServiceObjectActivities
from activities.soft_delete import SoftDeleteActivities
from activities.teardown import TeardownActivities
from kube.answers import Object
from kube.client import Kube
from kube.request import REQUESTS
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.deprovision import HardDeleted, HardDeleteInput, Remaining, SoftDeleteResult, TeardownInput, TornDown
from models.mandate import Mandate
from models.names import OPERAND_FINALIZER
from tests.acting import LIMIT, deprovision
from tests.cluster import ensure_namespace


async def hard_delete(kube: Kube, deletion: Mandate, seconds: float = 40, limit: timedelta = LIMIT) -> HardDeleted:
    """One attempt of so many seconds, in a hard delete with this limit."""
    input = HardDeleteInput(mandate=deletion, attempt=timedelta(seconds=seconds))
    return await deprovision(HardDeleteActivities(kube).hard_delete_service_objects, input, limit)


async def soft_delete(kube: Kube, deletion: Mandate) -> SoftDeleteResult:
    activities, input = SoftDeleteActivities(kube), TeardownInput(mandate=deletion)
    return await deprovision(activities.soft_delete_service_objects, input)


async def remove_resources(kube: Kube, deletion: Mandate) -> TornDown:
    return await deprovision(TeardownActivities(kube).remove_resources, TeardownInput(mandate=deletion))


async def count(kube: Kube, deletion: Mandate) -> Remaining:
    return await deprovision(ServiceObjectActivities(kube).count_service_objects, deletion)


async def seed(kube: Kube, namespaces: int, each: int) -> None:
    """So many pairs of an instance and a binding in each namespace, held as the operand holds them."""
    room = asyncio.Semaphore(24)

    async def pair(namespace: str, number: int) -> None:
        async with room:
            meta = {"name": f"i{number}", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
            spec = {"serviceOfferingName": "o", "servicePlanName": "p"}
            await kube.create(SERVICE_INSTANCES, an_object(SERVICE_INSTANCES, meta, spec))
            meta = {"name": f"b{number}", "namespace": namespace, "finalizers": [OPERAND_FINALIZER]}
            spec = {"serviceInstanceName": f"i{number}", "secretName": f"s{number}"}
            binding = await kube.create(SERVICE_BINDINGS, an_object(SERVICE_BINDINGS, meta, spec))
            await kube.delete(SECRETS, f"s{number}", namespace)  # of an earlier test, for the garbage collector is slow
            await kube.create(SECRETS, _secret(binding, f"s{number}"))

    names = [await ensure_namespace(kube, f"many-{number}") for number in range(namespaces)]
    await asyncio.gather(*(pair(name, number) for name in names for number in range(each)))


def requests() -> dict[str, float]:
    """Requests of this process so far; those for Secrets apart, the seeding's own verbs left in."""
    found: dict[str, float] = {}
    for metric in REQUESTS.collect():
        for sample in metric.samples:
            verb, kind = sample.labels.get("verb", ""), sample.labels.get("kind")
            if sample.name.endswith("_total") and verb != "watch":
                name = f"{verb} Secret" if kind == "Secret" else verb
                found[name] = found.get(name, 0) + sample.value
    return found


def instance_spec() -> dict[str, object]:
    return {"serviceOfferingName": "o", "servicePlanName": "p"}


def an_object(resource: Resource, meta: Mapping[str, object], spec: Mapping[str, object]) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}


def _secret(binding: Object, name: str) -> Object:
    meta = binding["metadata"]
    owner = {
        "apiVersion": SERVICE_BINDINGS.api_version,
        "kind": SERVICE_BINDINGS.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    return {"metadata": {"name": name, "namespace": meta["namespace"], "ownerReferences": [owner]}}
