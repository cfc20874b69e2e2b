"""Fields that the API server lets nobody change: an object that holds another value there has to go first."""

from collections.abc import Callable
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.errors import Refused
from kube.resources import CLUSTER_ROLE_BINDINGS, CONFIG_MAPS, DEPLOYMENTS, ROLE_BINDINGS, SECRETS, Resource
from operand.mandated import MandatedKube


def _another_role(wanted: Object, live: Object) -> bool:
    return bool(wanted["roleRef"] != live.get("roleRef"))


def _other_pods(wanted: Object, live: Object) -> bool:
    return bool(wanted["spec"]["selector"] != live["spec"]["selector"])


def _sealed(wanted: Object, live: Object) -> bool:
    return live.get("immutable") is True


STANDS_AGAINST: Final[dict[Resource, Callable[[Object, Object], bool]]] = {
    ROLE_BINDINGS: _another_role,
    CLUSTER_ROLE_BINDINGS: _another_role,
    DEPLOYMENTS: _other_pods,
    CONFIG_MAPS: _sealed,
    SECRETS: _sealed,
}
"""By kind: whether what is there cannot become what is wanted. Kinds whose deletion takes more than the object are not
here: a CustomResourceDefinition takes every object of its kind along."""


async def apply_or_replace(kube: Kube, held: MandatedKube, resource: Resource, wanted: Object) -> Object:
    """Apply an object of ours; where a field that nobody can change stands against it, in place of what is there.

    It may be there without our label: of an operand that somebody installed with Helm.

    Raises:
        KubeError: the API server refuses it for another reason, or is away.
        MandateLost: it is no longer asked for.
    """
    try:
        return await held.apply(resource, wanted)
    except Refused as error:
        stands_against = STANDS_AGAINST.get(resource)
        live = await _named(kube, resource, wanted) if stands_against and error.status == 422 else None
        if stands_against is None or live is None or not stands_against(wanted, live):
            raise
        meta = live["metadata"]
        await held.delete(resource, meta["name"], meta.get("namespace"), uid=meta["uid"])
        return await held.apply(resource, wanted)


async def _named(kube: Kube, resource: Resource, wanted: Object) -> Object | None:
    """What has the name that is wanted. A worker may list every kind but Secrets, and get no other by name."""
    name, namespace = wanted["metadata"]["name"], wanted["metadata"].get("namespace")
    if resource is SECRETS:
        return await kube.find(resource, name, namespace)
    return next(iter((await kube.list(resource, namespace, fields=f"metadata.name={name}")).items), None)
