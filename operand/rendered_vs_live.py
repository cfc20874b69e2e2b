"""What the chart says should be in the cluster, beside what is: the one look that surveys and applies decide on."""

import asyncio
from dataclasses import dataclass
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.readiness import unready, untrusted_webhooks
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    MUTATING_WEBHOOKS,
    SECRETS,
    VALIDATING_WEBHOOKS,
    Resource,
    chart_kind,
)
from models.conditions import Reason
from models.names import DISABLE_NETWORK_POLICIES_ANNOTATION, KYMA_NAMESPACE, OPERAND_CONFIG
from models.operators import OperatorRef
from operand.chart_contract import broken_terms
from operand.credentials import Credentials
from operand.errors import Permanent
from operand.installation import Installer, signed
from operand.ownership import is_ours, managed
from operand.rendering import ChartRenderer, RenderError
from operand.traces import noting

PRUNED: Final = tuple(kind for kind in CHART_KINDS if kind not in (CUSTOM_RESOURCE_DEFINITIONS, SECRETS))
"""Kinds of which surplus objects are removed: not CRDs, which would take users' objects along, and no Secrets."""
Surplus = list[tuple[Resource, Object]]
"""Objects of ours that the chart no longer renders."""


@dataclass(frozen=True)
class Item:
    """One object as rendered, and as it is."""

    resource: Resource
    wanted: Object
    live: Object | None

    @property
    def name(self) -> str:
        return self.resource.named(self.wanted)

    @property
    def is_configuration(self) -> bool:
        """Whether it is the ConfigMap that tells the operand its cluster id and where its credentials are."""
        return _is_configuration(self.wanted)


class Comparison:
    """Renders the chart and reads what is there."""

    def __init__(self, kube: Kube, renderer: ChartRenderer, place: str) -> None:
        self._kube = kube
        self._renderer = renderer
        self._installer = Installer(kube, renderer.version, place)

    async def items(self, ref: OperatorRef, credentials: Credentials, ca: str) -> tuple[list[Item], Surplus]:
        """The rendered objects beside the live ones, and what was rendered once and is not any more.

        One list per kind and namespace instead of one get per object.

        Raises:
            Superseded: it is for a worker of a newer installation to say what the chart is.
        """
        own = await self._installer.own()
        values = credentials.values()
        values["manager"]["webhook"] = {"caBundle": ca}
        if await self._wants_no_network_policies(ref):
            values["manager"]["network_policies"] = {"enabled": False}
        try:
            objects = await self._renderer.render(values)
        except RenderError as error:
            raise Permanent(
                Reason.PREPARING_INSTALL_INFO_FAILED,
                f"chart {self._renderer.chart.name} does not render: {credentials.scrub(str(error))[:2000]}",
            ) from None  # the chained original would carry what was scrubbed
        if broken := broken_terms(objects, credentials, ca, self._renderer.wanted):
            name, said = self._renderer.chart.name, "; ".join(broken)
            text = f"chart {name} does not use its values as this manager gives them: {said}"
            raise Permanent(Reason.PREPARING_INSTALL_INFO_FAILED, text[:2000])
        objects = [noting(obj, {credentials.namespace}) if _is_configuration(obj) else obj for obj in objects]
        kinds = {(chart_kind(obj), obj["metadata"].get("namespace")) for obj in objects}
        kinds |= {(resource, KYMA_NAMESPACE if resource.namespaced else None) for resource in PRUNED}
        lists = await asyncio.gather(*(managed(self._kube, resource, namespace) for resource, namespace in kinds))
        live = {
            (resource, namespace, obj["metadata"]["name"]): obj
            for (resource, namespace), listing in zip(kinds, lists, strict=True)
            for obj in listing
        }
        items = []
        for obj in objects:
            kind, meta = chart_kind(obj), obj["metadata"]
            found = live.pop((kind, meta.get("namespace"), meta["name"]), None)
            items.append(Item(kind, signed(obj, found, own), found))
        return items, [(kind, obj) for (kind, *_), obj in live.items() if kind in PRUNED and _is_surplus(kind, obj)]

    async def _wants_no_network_policies(self, ref: OperatorRef) -> bool:
        found = await self._kube.find(BTP_OPERATORS, ref.name, ref.namespace, metadata_only=True)
        annotations = ((found or {}).get("metadata") or {}).get("annotations") or {}
        return str(annotations.get(DISABLE_NETWORK_POLICIES_ANNOTATION, "")).lower() == "true"


def not_ready(items: list[Item], ca: str) -> list[str]:
    """What is there and not ready, and why."""
    found = []
    for item in items:
        if item.live is None:
            continue  # drift, and named as such
        trouble = unready(item.resource, item.live)
        if not trouble and item.resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
            trouble = untrusted_webhooks(item.live, ca)
        if trouble:
            found.append(f"{item.name} {trouble}")
    return found


def _is_configuration(obj: Object) -> bool:
    return chart_kind(obj) is CONFIG_MAPS and obj["metadata"]["name"] == OPERAND_CONFIG


def _is_surplus(kind: Resource, obj: Object) -> bool:
    """Whether an object that is not rendered any more has to be removed: not if it is being removed already."""
    return is_ours(kind, obj) and not obj["metadata"].get("deletionTimestamp")
