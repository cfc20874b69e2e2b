"""Waits until everything that the chart installed is ready, by watching: no look comes later than the change."""

import asyncio
from typing import Final

from temporalio import activity

from activities.chart import NO_ENDPOINT
from activities.edge import checked
from activities.progress import Progress, heartbeating
from kube.client import Kube
from kube.readiness import has_ready_endpoint, pod_trouble, unready, untrusted_webhooks, webhook_names
from kube.reflector import Reflector, Source, check_followers
from kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    MUTATING_WEBHOOKS,
    PODS,
    VALIDATING_WEBHOOKS,
)
from models.mandate import Purpose
from models.names import KYMA_NAMESPACE, MANAGED_SELECTOR, OPERAND_POD_SELECTOR, OPERAND_WEBHOOK_SERVICE
from models.provision import ReadyInput
from models.text import plain
from operand.certificates import certificates_are_usable
from operand.mandated import holding
from operand.ownership import is_ours, managed
from operand.webhook_call import webhook_call_trouble

ATTEMPT: Final = 30.0
"""Seconds one attempt watches before it reports what is not ready and is tried again, within the deadline."""
LONGEST_TROUBLE: Final = 1_000
"""Characters of what a kubelet or scheduler says; it quotes registries, which may say much."""
SETTLE: Final = 2.0
"""Seconds after which pods are asked why they do not become ready."""
FIRST_LOOK: Final = 0.1
LAST_LOOK: Final = 2.0
"""Seconds until the next look where nothing changes: soon at first, for the API server learns of endpoints as we do."""


class ReadinessActivities:
    """Watches the few objects whose readiness takes time; the rest is ready once it exists."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def wait_until_ready(self, input: ReadyInput) -> None:
        """Return as soon as all is ready; fail, naming what is not, when the attempt is over.

        What keeps a pod from becoming ready is told at once, by a failure of its own, unless the CR says it already:
        a person need not wait for a deadline to hear that an image cannot be pulled.
        """
        async with heartbeating() as progress:
            changed = asyncio.Event()
            reflectors = [Reflector(self._kube, source, on_sync=changed.set) for source in _sources()]
            following = [asyncio.create_task(_follow(reflector, changed)) for reflector in reflectors]
            try:
                async with holding(self._kube, input.mandate, Purpose.PROVISION):
                    progress.got_answer()
                    async with asyncio.timeout(min(ATTEMPT, 0.9 * input.timeout.total_seconds())):
                        await self._watch(reflectors, following, changed, progress, input.told)
            except TimeoutError:
                raise progress.still_waiting(progress.text or "the cluster did not answer", pause=0.1) from None
            finally:
                for task in following:
                    task.cancel()
                await asyncio.gather(*following, return_exceptions=True)

    async def _watch(
        self,
        reflectors: list[Reflector],
        following: list[asyncio.Task[None]],
        changed: asyncio.Event,
        progress: Progress,
        told: str | None,
    ) -> None:
        """Return when all is ready. `told` is what the CR says already of a pod's trouble."""
        pause, quiet = FIRST_LOOK, 0.0
        while waiting := await self._waiting_for(reflectors, following):
            settled = quiet >= SETTLE
            trouble = await self._pod_trouble() if settled or told else ""
            if not any(reflector.trouble for reflector in reflectors):
                progress.got_answer()
            progress.say("; ".join([*waiting, trouble] if trouble else waiting))
            if settled and trouble and told is not None and trouble != told:
                raise progress.news(trouble)
            try:
                async with asyncio.timeout(pause):
                    await changed.wait()
                pause = FIRST_LOOK
            except TimeoutError:
                quiet, pause = quiet + pause, min(pause * 2, LAST_LOOK)
            changed.clear()

    async def _waiting_for(self, reflectors: list[Reflector], following: list[asyncio.Task[None]]) -> list[str]:
        check_followers(following)
        if not all(reflector.synced for reflector in reflectors):
            return [f"looking at {r.source.resource.plural}" for r in reflectors if not r.synced]
        waiting = []
        for reflector in reflectors:
            if reflector.source.resource is ENDPOINT_SLICES:
                waiting += [] if has_ready_endpoint(list(reflector.known.values())) else [NO_ENDPOINT]
                continue
            for obj in reflector.known.values():
                if not is_ours(reflector.source.resource, obj):
                    continue  # a label is easily copied
                if trouble := unready(reflector.source.resource, obj):
                    waiting.append(f"{reflector.source.resource.named(obj)} {trouble}")
        return waiting or await self._webhook_trouble()

    async def _pod_trouble(self) -> str:
        """Why pods do not become ready, as it is compared and said: one bounded line. Empty if nobody says."""
        pods = await self._kube.list(PODS, KYMA_NAMESPACE, labels=OPERAND_POD_SELECTOR)
        return plain(pod_trouble(pods.items) or "", LONGEST_TROUBLE)

    async def _webhook_trouble(self) -> list[str]:
        """Looked at last: webhook configurations do not become ready by themselves."""
        kinds = (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)
        ca, listings = await asyncio.gather(
            certificates_are_usable(self._kube), asyncio.gather(*(managed(self._kube, kind, None) for kind in kinds))
        )
        if ca is None:
            return ["the webhook certificates are not usable"]
        troubles: list[str] = []
        names: list[str] = []
        for resource, listing in zip(kinds, listings, strict=True):
            for obj in listing:
                if is_ours(resource, obj):
                    names += webhook_names(obj)
                    trouble = untrusted_webhooks(obj, ca)
                    troubles += [f"{resource.named(obj)} {trouble}"] if trouble else []
        if not troubles and (trouble := await webhook_call_trouble(self._kube, names)):
            troubles = [trouble]
        return troubles


def _sources() -> list[Source]:
    def whole(obj: object) -> object:
        return obj

    return [
        Source(DEPLOYMENTS, whole, KYMA_NAMESPACE, labels=MANAGED_SELECTOR, metadata_only=False),
        Source(CUSTOM_RESOURCE_DEFINITIONS, _conditions_only, labels=MANAGED_SELECTOR, metadata_only=False),
        Source(
            ENDPOINT_SLICES,
            whole,
            KYMA_NAMESPACE,
            labels=f"kubernetes.io/service-name={OPERAND_WEBHOOK_SERVICE}",
            metadata_only=False,
        ),
    ]


def _conditions_only(obj: object) -> object:
    """A CRD without its schemas, which are large and say nothing about readiness."""
    assert isinstance(obj, dict)
    return {"metadata": obj["metadata"], "status": obj.get("status")}


async def _follow(reflector: Reflector, changed: asyncio.Event) -> None:
    async for _ in reflector.changes():
        changed.set()
