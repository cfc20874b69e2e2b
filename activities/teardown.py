"""Takes the operand out of the cluster: first what would be called or would act, later everything else.

What was seen is deleted, by uid: the same names may belong to the next installation a moment later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.deletion_step import deletion_step
from activities.edge import checked
from activities.progress import LAST, Progress
from kube.client import Deletion, Kube
from kube.errors import Conflict, KubeError
from kube.resources import (
    CHART_KINDS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    VALIDATING_WEBHOOKS,
    Resource,
)
from models.conditions import Reason
from models.deprovision import Removed, TeardownInput, TornDown
from models.names import (
    KYMA_NAMESPACE,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
    OPERAND_DEPLOYMENT,
    OPERAND_FINALIZER,
)
from models.text import some
from operand.errors import Failure, Permanent, failure_of
from operand.mandated import MandatedKube
from operand.operand_pods import OperandPods
from operand.ownership import is_ours, managed, written_by_us
from operand.service_objects import first_few
from operand.traces import installed_namespaces, our_credentials

FIRST_LOOK: Final = 0.05
LAST_LOOK: Final = 3.0
"""Seconds between looks: soon at first, calm when something hangs."""
EXPLAIN_AFTER: Final = 0.3
"""Seconds between looks from which on what takes longer than usual is explained."""
ATTEMPT: Final = 30.0
"""Seconds one attempt waits for things to be seen gone."""
REPORT_AFTER: Final = 5.0
"""Seconds after which the CR says what is waited for: most goes sooner."""
HELD_FOR: Final = 10.0
"""Seconds after which definitions that only finalizers of others hold are left to whoever set these. Longer than
REPORT_AFTER, so the CR has named them before."""


@dataclass(frozen=True)
class Target:
    """An object to be removed, as it was seen."""

    resource: Resource
    namespace: str | None
    name: str
    uid: str

    def __str__(self) -> str:
        return self.resource.named({"metadata": {"namespace": self.namespace, "name": self.name}})


class TeardownActivities:
    """Every method is done only when what it removed is seen gone."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def remove_operand(self, input: TeardownInput) -> TornDown:
        """Webhooks, then the Deployment, then wait until its pods have stopped: nothing acts or is called any more."""
        async with deletion_step(self._kube, input) as (progress, held):
            targets: list[Target] = []
            for kind in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS, DEPLOYMENTS):
                targets += [target for target in await self._ours(kind) if _is_operand(target)]
            targets = await _delete(held, targets, progress)
            pods = OperandPods(self._kube, time_left=progress.time_left)

            async def left() -> list[str]:
                targets[:] = await self._left(targets)
                return [*map(str, targets), *await pods.running()]

            await _see_gone(left, progress, input.told)
            return TornDown(**progress.removed.model_dump(), passed_over=pods.passed_over)

    @activity.defn
    @checked
    async def remove_resources(self, input: TeardownInput) -> TornDown:
        """Everything that this or an earlier version of the chart installed, CRDs included, and seen gone."""
        async with deletion_step(self._kube, input) as (progress, held):
            targets: list[Target] = []
            others: list[str] = []
            for kind in reversed(CHART_KINDS):
                targets += await self._ours(kind, others)
            targets += await self._elsewhere()
            # The only note of where credentials are goes last: what could not be removed is found again by it.
            progress.removed = progress.removed.at_least(Removed(resources=len(targets)))
            notes = [target for target in targets if _is_note(target)]
            targets = await _delete(held, [target for target in targets if target not in notes], progress)
            targets += await _delete(held, notes, progress)

            async def left() -> list[str]:
                targets[:] = await self._left(targets)  # what was seen gone, by its uid, does not come back
                return list(map(str, targets))

            async def holders(left: list[str], waited: float) -> str:
                return await self._holders(left, waited, progress.held_by_us if input.may_let_go else None)

            await _see_gone(left, progress, input.told, holders)
            return TornDown(**progress.removed.model_dump(), passed_over=some(others))

    async def _ours(self, resource: Resource, others: list[str] | None = None) -> list[Target]:
        """Objects of a kind that we installed. What only claims to be ours is added to `others`."""
        namespace = KYMA_NAMESPACE if resource.namespaced else None
        found = []
        for obj in await managed(self._kube, resource, namespace, metadata_only=True):
            meta = obj["metadata"]
            if is_ours(resource, obj):
                found.append(Target(resource, namespace, meta["name"], meta["uid"]))
            elif written_by_us(obj) and others is not None:
                others.append(f"{resource.named(obj)} was left alone: it carries our label, but no name of ours")
        return found

    async def _elsewhere(self) -> list[Target]:
        """What the operand made itself, and credentials outside of kyma-system.

        The installed configuration says where. It may be edited, so a namespace is believed only where a Secret of that
        name is that we wrote.
        """
        namespaces = {KYMA_NAMESPACE, *await installed_namespaces(self._kube)}
        found: list[Target] = []
        for namespace in sorted(namespaces):
            credentials = await our_credentials(self._kube, namespace, metadata_only=True)
            if credentials and namespace != KYMA_NAMESPACE:  # there it is found with all that the chart rendered
                found.append(Target(SECRETS, namespace, OPERAND_CREDENTIALS_SECRET, credentials["metadata"]["uid"]))
            secret = await self._kube.find(SECRETS, OPERAND_CLUSTER_ID_SECRET, namespace, metadata_only=True)
            if secret:  # without our label: the operand made it
                found.append(Target(SECRETS, namespace, OPERAND_CLUSTER_ID_SECRET, secret["metadata"]["uid"]))
        return found

    async def _left(self, targets: list[Target]) -> list[Target]:
        """Which of the targets are still there: one list for each kind, one request for each Secret."""
        there: set[str] = set()
        for kind in {target.resource for target in targets} - {SECRETS}:
            found = await managed(self._kube, kind, KYMA_NAMESPACE if kind.namespaced else None, metadata_only=True)
            there |= {obj["metadata"]["uid"] for obj in found}
        for target in targets:
            if target.resource is SECRETS:
                secret = await self._kube.find(SECRETS, target.name, target.namespace, metadata_only=True)
                there |= {secret["metadata"]["uid"]} if secret else set()
        return [target for target in targets if target.uid in there]

    async def _holders(self, left: list[str], waited: float, let_go: Callable[[str], ApplicationError] | None) -> str:
        """What holds a CRD: service objects that somebody else's finalizer keeps.

        Raises:
            ApplicationError: soft delete has to let go what came after it: the operand, which would, is gone.
            Permanent: nothing else is left, and only whoever set the finalizers can take them off.
        """
        held, operands = [], False
        for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
            page = await first_few(self._kube, resource, 3)
            for obj in page.items if page else []:
                finalizers = obj["metadata"].get("finalizers") or []
                operands |= OPERAND_FINALIZER in finalizers
                held.append(f"{resource.named(obj)} ({', '.join(some(finalizers)) or 'no finalizer'})")
        text = f"; held by {'; '.join(held)}" if held else ""
        if operands and let_go:
            raise let_go(f"waiting for {', '.join(some(left, 5, 200))} to be gone{text}")
        only_definitions = all(name.startswith(CUSTOM_RESOURCE_DEFINITIONS.kind) for name in left)
        if held and not operands and only_definitions and waited > HELD_FOR:
            raise Permanent(Reason.RESOURCE_REMOVAL_FAILED, f"waiting for {', '.join(left)} to be gone{text}")
        return text


async def _delete(held: MandatedKube, targets: list[Target], progress: Progress) -> list[Target]:
    """Ask for each deletion, in order of kinds. A refusal keeps nothing else; the first one is raised at the end.

    Returns those that may still be there.
    """
    progress.removed = progress.removed.at_least(Removed(resources=len(targets)))  # an earlier attempt found more
    refused: Failure | None = None
    going: list[Target] = []
    for target in targets:
        progress.say(f"deleting {target}")
        try:
            if await held.delete(target.resource, target.name, target.namespace, uid=target.uid) is Deletion.ACCEPTED:
                going.append(target)
        except Conflict:
            going.append(target)  # another object of that name by now, as the look will show
        except KubeError as error:
            text = f"{target} cannot be removed: {error}"
            refused = refused or failure_of(error, Reason.RESOURCE_REMOVAL_FAILED, text)
    if refused:
        raise refused
    return going


def _is_operand(target: Target) -> bool:
    return target.resource is not DEPLOYMENTS or target.name == OPERAND_DEPLOYMENT


def _is_note(target: Target) -> bool:
    return target.resource is CONFIG_MAPS and target.name == OPERAND_CONFIG


async def _nobody(left: list[str], waited: float) -> str:
    return ""


async def _see_gone(
    look: Callable[[], Awaitable[list[str]]],
    progress: Progress,
    told: str,
    holders: Callable[[list[str], float], Awaitable[str]] = _nobody,
) -> None:
    """Look, at growing intervals, until nothing is left; `holders` says what holds it, given how long it has waited.

    Raises:
        ApplicationError: the attempt is over, or has something to say that was not `told` yet; it names what is left.
    """
    pause, began = FIRST_LOOK, asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(ATTEMPT):
            while left := await look():
                waited = asyncio.get_running_loop().time() - began
                held = await holders(left, waited) if pause > EXPLAIN_AFTER else ""
                progress.got_answer()
                progress.say(f"waiting for {', '.join(some(left, 5, 200))} to be gone{held}")
                if waited > REPORT_AFTER and progress.text != told and progress.share_left() > LAST:
                    raise progress.news(progress.text)
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LAST_LOOK)
    except TimeoutError:
        raise progress.still_waiting(progress.text) from None
