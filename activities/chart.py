"""Puts the operand's chart into the cluster: only what differs, in the order of their dependencies."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from temporalio import activity

from activities.edge import checked
from activities.progress import Progress, heartbeating
from kube.answers import Object, pod_spec
from kube.client import Kube
from kube.errors import KubeError
from kube.readiness import has_ready_endpoint, webhook_names
from kube.resources import (
    APPLY_WAVES,
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    PRIORITY_CLASSES,
)
from kube.side_by_side import meanwhile, side_by_side
from models.conditions import Reason
from models.mandate import Purpose
from models.names import (
    KYMA_NAMESPACE,
    OPERAND_WEBHOOK_SERVICE,
)
from models.operators import OperatorRef
from models.provision import Applied, ChartInput, Survey
from models.status import Finding
from operand.certificates import certificates_are_usable, ensure_certificates
from operand.credentials import Credentials, installed_credentials, read_credentials
from operand.drift import Drift
from operand.errors import Permanent, failure_of
from operand.mandated import MandatedKube, holding
from operand.rendered_vs_live import Comparison, Item, Surplus, not_ready
from operand.rendering import ChartRenderer
from operand.rivals import Rivals
from operand.service_objects import is_operand_needed
from operand.traces import forget_cluster_id, forget_credentials, former_namespaces, noting
from operand.unchangeable import apply_or_replace
from operand.webhook_call import webhook_call_trouble


class ChartActivities:
    """Renders, compares and applies the chart."""

    def __init__(self, kube: Kube, renderer: ChartRenderer, any_address: bool = False, place: str = "") -> None:
        """Args:
        any_address: let Secret sap-btp-manager name http: for tests.
        place: of this worker, as its Deployment says (operand/installation.py).
        """
        self._kube = kube
        self._any_address = any_address
        self._renderer = renderer
        self._comparison = Comparison(kube, renderer, place)
        self._drift = Drift(kube)
        self._rivals = Rivals()

    @activity.defn
    @checked
    async def check_drift(self, input: ChartInput) -> Survey:
        """Compare an installed chart with what it should be. Writes nothing."""
        credentials, ca, look, slices = await asyncio.gather(
            self._credentials(),
            certificates_are_usable(self._kube),
            self._comparison.look(input.ref),
            webhook_endpoints(self._kube),
        )
        if ca is None:
            return Survey(drifted=["the webhook certificates"])
        items, surplus = await self._comparison.items(look, credentials, ca)
        unready = [*not_ready(items, ca), *([] if has_ready_endpoint(slices) else [NO_ENDPOINT])]
        return Survey(
            drifted=[
                *(item.name for item in await self._drift.among(items)),
                *(f"{resource.named(obj)}, which is no longer part of the chart" for resource, obj in surplus),
            ],
            unready=unready or await self._webhook_trouble(items),
        )

    async def _webhook_trouble(self, items: list[Item]) -> list[str]:
        """Asked twice: one call that is lost does not take a CR out of Ready."""
        names = [name for item in items for name in webhook_names(item.wanted)]
        if await webhook_call_trouble(self._kube, names) is None:
            return []
        await asyncio.sleep(0.3)
        trouble = await webhook_call_trouble(self._kube, names)
        return [trouble] if trouble else []

    @activity.defn
    @checked
    async def apply_chart(self, input: ChartInput) -> Applied:
        """Have every chart object in the cluster as rendered; what is so already is not sent."""
        async with (
            heartbeating() as progress,
            meanwhile(self._credentials()) as reading,
            holding(self._kube, input.mandate, Purpose.PROVISION) as held,
        ):
            progress.got_answer()
            return await self._install(input.ref, held, await reading, progress)

    @activity.defn
    @checked
    async def restore_operand(self, input: ChartInput) -> Applied:
        """For a deletion: have the chart as rendered while anything waits for the operand, which alone can delete it.

        What Secret sap-btp-manager no longer says is taken from what was installed.
        """
        async with heartbeating() as progress, holding(self._kube, input.mandate, Purpose.DELETE) as held:
            progress.got_answer()
            if not await is_operand_needed(self._kube):
                return Applied()
            credentials = await read_credentials(self._kube, self._any_address)
            if isinstance(credentials, Finding):
                said, credentials = credentials, await installed_credentials(self._kube)
                if isinstance(credentials, Finding):
                    raise Permanent(said.reason, f"{said.message}; and the operand's own: {credentials.message}")
            return await self._install(input.ref, held, credentials, progress)

    async def _install(
        self, ref: OperatorRef, held: MandatedKube, credentials: Credentials, progress: Progress
    ) -> Applied:
        async with (
            meanwhile(self._comparison.look(ref)) as looking,
            meanwhile(former_namespaces(self._kube, credentials.namespace)) as remembering,
        ):
            progress.say("certificates")
            with _named("webhook certificates"):
                ca = await ensure_certificates(self._kube, held)
            look, former = await looking, await remembering
        progress.say("rendering")
        items, surplus = await self._comparison.items(look, credentials, ca)
        await self._check_priority_classes(items)
        noted = [_noting(item, {credentials.namespace, *former}) for item in items]
        applied = Applied()
        await self._apply(ref, noted, held, credentials, progress, applied)
        if former:
            with _named("credentials left in a namespace of before"):
                await forget_credentials(self._kube, held, former)
                for item in items:
                    if item.is_configuration:
                        await apply_or_replace(self._kube, held, item.resource, item.wanted)
        applied.pruned = await self._prune(surplus, held)
        applied.unchanged = len(items) - len(applied.written)
        return applied

    async def _credentials(self) -> Credentials:
        answer = await read_credentials(self._kube, self._any_address)
        if isinstance(answer, Finding):
            raise Permanent(answer.reason, answer.message)
        return answer

    async def _prune(self, surplus: Surplus, held: MandatedKube) -> list[str]:
        """Remove what an earlier chart, or another setting, rendered: last, when what replaces it is there."""
        for resource, obj in surplus:
            meta = obj["metadata"]
            try:
                await held.delete(resource, meta["name"], meta.get("namespace"), uid=meta["uid"])
            except KubeError as error:
                text = f"{resource.named(obj)} is no longer part of the chart, and cannot be removed: {error}"
                raise failure_of(error, Reason.CHART_INSTALL_FAILED, text) from error
        return [resource.named(obj) for resource, obj in surplus]

    async def _check_priority_classes(self, items: list[Item]) -> None:
        """A missing PriorityClass stops pods from being made, and the Deployment's conditions do not say so."""
        named = {str(pod_spec(item.wanted).get("priorityClassName") or "") for item in items} - {""}
        for name in sorted(named):
            if await self._kube.find(PRIORITY_CLASSES, name) is None:
                raise Permanent(Reason.MISSING_PRIORITY_CLASS, f"PriorityClass {name} does not exist; create it")

    async def _apply(
        self,
        ref: OperatorRef,
        items: list[Item],
        held: MandatedKube,
        credentials: Credentials,
        progress: Progress,
        applied: Applied,
    ) -> None:
        changed = self._drift.suspected(items)
        going = [item.name for item in changed if item.live and item.live["metadata"].get("deletionTimestamp")]
        if going:
            raise progress.still_waiting(f"still being deleted: {', '.join(going)}", pause=0.5)

        async def apply(item: Item) -> None:
            progress.say(f"applying {item.name}")
            try:
                if item.live:
                    await held.inherit(item.resource, item.live)
                after = await apply_or_replace(self._kube, held, item.resource, item.wanted)
                progress.got_answer()
            except KubeError as error:
                text = credentials.scrub(f"{item.name}: {error}")
                raise failure_of(error, Reason.CHART_INSTALL_FAILED, text) from None
            if self._drift.settle(item, after):
                applied.written.append(item.name)
                applied.contested += self._rivals.contests(ref.uid, item, after)

        for wave in APPLY_WAVES:
            await side_by_side(apply, [item for item in changed if item.resource in wave])
            if CONFIG_MAPS in wave:  # and before the operand starts with it
                with _named("the cluster id that the operand remembers"):
                    for namespace in {KYMA_NAMESPACE, credentials.namespace}:
                        await forget_cluster_id(self._kube, held, namespace, unless=credentials.cluster_id)


NO_ENDPOINT: Final = f"Service {KYMA_NAMESPACE}/{OPERAND_WEBHOOK_SERVICE} has no ready endpoint"


async def webhook_endpoints(kube: Kube) -> list[Object]:
    """The EndpointSlices behind the operand's webhook Service."""
    selector = f"kubernetes.io/service-name={OPERAND_WEBHOOK_SERVICE}"
    return (await kube.list(ENDPOINT_SLICES, KYMA_NAMESPACE, labels=selector)).items


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say what an error of the API server was about."""
    try:
        yield
    except KubeError as error:
        raise failure_of(error, Reason.CHART_INSTALL_FAILED, f"{what}: {error}") from error


def _noting(item: Item, namespaces: set[str]) -> Item:
    return replace(item, wanted=noting(item.wanted, namespaces)) if item.is_configuration else item
