"""Takes the operand out of the cluster: first what would be called or would act, later everything else.

Deleted is what carries our label *and* was written by us: a label is easily copied by a person, authorship is not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from temporalio import activity

from activities.progress import Progress, failure, heartbeating, still_waiting
from kube.client import Kube
from kube.errors import KubeError, NotFound
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    PODS,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    VALIDATING_WEBHOOKS,
    Resource,
)
from models.conditions import Reason
from models.deprovision import Removed, TeardownInput
from models.names import (
    API_GROUP,
    KYMA_NAMESPACE,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_DEPLOYMENT,
    OPERAND_POD_SELECTOR,
)
from operand.credentials import operand_config
from operand.ownership import managed, written_by_us

OWN_CRD: Final = f"{BTP_OPERATORS.plural}.{API_GROUP}"
FIRST_LOOK: Final = 0.05
EXPLAIN_AFTER: Final = 0.3
LAST_LOOK: Final = 5.0
"""Seconds between looks: soon at first, calm when something hangs."""
ATTEMPT: Final = 30.0
"""Seconds one attempt waits for things to be seen gone."""

Target = tuple[Resource, str | None, str]


class TeardownActivities:
    """Every method is done only when what it removed is seen gone."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def remove_operand(self, input: TeardownInput) -> Removed:
        """Webhooks, then the Deployment, then wait until its pods have stopped: nothing acts or is called any more."""
        async with heartbeating() as progress:
            targets: list[Target] = []
            for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, DEPLOYMENTS):
                targets += [target for target in await self._ours(kind, None) if _is_operand(target)]
            await self._delete(targets, progress)

            async def left() -> list[Target]:
                return [*await self._left(targets), *await self._pods()]

            try:
                await _see_gone(left, progress)
            except TimeoutError:
                raise still_waiting(progress.text) from None
            return progress.removed

    @activity.defn
    async def remove_resources(self, input: TeardownInput) -> Removed:
        """Everything that this or an earlier version of the chart installed, CRDs included, and seen gone."""
        async with heartbeating() as progress:
            namespace = await self._credentials_namespace()
            targets: list[Target] = []
            for kind in reversed(CHART_KINDS):
                targets += await self._ours(kind, namespace)
            where = namespace or KYMA_NAMESPACE
            if await self._kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, where, metadata_only=True):
                targets.append((SECRETS, where, OPERAND_CLUSTER_ID_SECRET))  # made by the operand, without our label
            await self._delete(targets, progress)
            try:
                await _see_gone(lambda: self._left(targets), progress, self._holders)
            except TimeoutError:
                raise still_waiting(progress.text) from None
            return progress.removed

    async def _ours(self, resource: Resource, also: str | None) -> list[Target]:
        """Objects of a kind that we installed. Namespaced ones are looked for where the chart puts them."""
        namespaces = sorted({KYMA_NAMESPACE, also or KYMA_NAMESPACE}) if resource.namespaced else [None]
        found: list[Target] = []
        for namespace in namespaces:
            there = await managed(self._kube, resource, namespace, metadata_only=True)
            found += [(resource, namespace, obj["metadata"]["name"]) for obj in there if written_by_us(obj)]
        return [target for target in found if target[2] != OWN_CRD]

    async def _delete(self, targets: list[Target], progress: Progress) -> None:
        """Ask for each deletion, in order of kinds."""
        progress.removed = progress.removed.at_least(Removed(resources=len(targets)))  # an earlier attempt found more
        for resource, namespace, name in targets:
            progress.say(f"deleting {resource.kind} {name}")
            try:
                await self._kube.delete(resource, name, namespace)
            except KubeError as error:
                where = f"{namespace}/" if namespace else ""
                text = f"{resource.kind} {where}{name} cannot be removed: {error}"
                raise failure(error, Reason.RESOURCE_REMOVAL_FAILED, text) from error

    async def _left(self, targets: list[Target]) -> list[Target]:
        """Which of the targets are still there: one list for each kind and namespace that has any."""
        places = {(kind, namespace) for kind, namespace, _ in targets}
        there = {
            (kind, where, obj["metadata"]["name"])
            for kind, where in places
            for obj in await managed(self._kube, kind, where, metadata_only=True)
        }
        return [target for target in targets if target in there]

    async def _pods(self) -> list[Target]:
        listing = await self._kube.list(PODS, KYMA_NAMESPACE, labels=OPERAND_POD_SELECTOR, metadata_only=True)
        return [(PODS, KYMA_NAMESPACE, name) for name in sorted(obj["metadata"]["name"] for obj in listing.items)]

    async def _credentials_namespace(self) -> str | None:
        """Where the operand's credentials are, as the installed configuration says: the Secret may be long gone."""
        return (await operand_config(self._kube)).get("RELEASE_NAMESPACE") or None

    async def _holders(self) -> str:
        """What holds a CRD: service objects that somebody else's finalizer keeps."""
        held = []
        for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
            try:
                page = await self._kube.first_page(resource, 3)
            except NotFound:
                continue
            for obj in page.items:
                finalizers = ", ".join(obj["metadata"].get("finalizers") or ["no finalizer"])
                held.append(f"{resource.named(obj)} ({finalizers})")
        return f"; held by {'; '.join(held)}" if held else ""


def _is_operand(target: Target) -> bool:
    return target[0] is not DEPLOYMENTS or target[2] == OPERAND_DEPLOYMENT


def _shown(target: Target) -> str:
    resource, namespace, name = target
    return resource.named({"metadata": {"namespace": namespace, "name": name}})


async def _nobody() -> str:
    return ""


async def _see_gone(
    look: Callable[[], Awaitable[list[Target]]], progress: Progress, holders: Callable[[], Awaitable[str]] = _nobody
) -> None:
    """Look, at growing intervals, until nothing is left. Raises TimeoutError when the attempt is over.

    What takes longer than usual is explained: `holders` says what holds it.
    """
    pause = FIRST_LOOK
    async with asyncio.timeout(ATTEMPT):
        while left := await look():
            held = await holders() if pause > EXPLAIN_AFTER else ""
            progress.say(f"waiting for {', '.join(map(_shown, left))} to be gone{held}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_LOOK)
