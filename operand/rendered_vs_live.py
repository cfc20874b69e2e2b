"""What the chart says should be in the cluster, beside what is: the one look that surveys and applies decide on."""

import asyncio
from collections.abc import Collection
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
from operand.installation import Installation, Installer, signed
from operand.operand_values import Values
from operand.ownership import is_ours, managed
from operand.rendering import ChartRenderer, RenderError
from operand.traces import noting

PRUNED: Final = tuple(kind for kind in CHART_KINDS if kind not in (CUSTOM_RESOURCE_DEFINITIONS, SECRETS))
"""Kinds of which surplus objects are removed: not CRDs, which would take users' objects along, and no Secrets."""
Place = tuple[Resource, str | None]
"""A kind, and the namespace where its objects are looked for."""
EXPECTED: Final[frozenset[Place]] = frozenset(
    (kind, KYMA_NAMESPACE if kind.namespaced else None) for kind in (*PRUNED, CUSTOM_RESOURCE_DEFINITIONS)
)
"""Where is looked whatever the chart renders, and therefore before anybody knows that."""
Live = dict[tuple[Resource, str | None, str], Object]
"""Objects by kind, namespace and name."""
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


@dataclass(frozen=True)
class Look:
    """What is there, and what is asked besides the Secret's values."""

    own: Installation
    without_network_policies: bool
    live: Live


class Comparison:
    """Renders the chart and reads what is there."""

    def __init__(self, kube: Kube, renderer: ChartRenderer, place: str) -> None:
        self._kube = kube
        self._renderer = renderer
        self._installer = Installer(kube, renderer.version, place)

    async def look(self, ref: OperatorRef) -> Look:
        """Read what is there. Needs nothing of what is rendered, and so may be done meanwhile.

        One list per kind and namespace instead of one get per object.

        Raises:
            Superseded: it is for a worker of a newer installation to say what the chart is.
        """
        own, disabled, live = await asyncio.gather(
            self._installer.own(), self._wants_no_network_policies(ref), self._live(EXPECTED)
        )
        return Look(own, disabled, live)

    async def items(self, look: Look, credentials: Credentials, ca: str) -> tuple[list[Item], Surplus]:
        """The rendered objects beside the live ones, and what was rendered once and is not any more.

        Raises:
            Superseded: it is for a worker of a newer installation to say what the chart is.
        """
        values = credentials.values()
        values["manager"]["webhook"] = {"caBundle": ca}
        if look.without_network_policies:
            values["manager"]["network_policies"] = {"enabled": False}
        objects = await self._rendered(values, credentials, ca)
        places = {(chart_kind(obj), obj["metadata"].get("namespace")) for obj in objects}
        live = {**look.live, **await self._live(places - EXPECTED)}
        items = []
        for obj in objects:
            kind, meta = chart_kind(obj), obj["metadata"]
            found = live.pop((kind, meta.get("namespace"), meta["name"]), None)
            items.append(Item(kind, signed(obj, found, look.own), found))
        return items, [(kind, obj) for (kind, *_), obj in live.items() if kind in PRUNED and _is_surplus(kind, obj)]

    async def _rendered(self, values: Values, credentials: Credentials, ca: str) -> list[Object]:
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
        return [noting(obj, {credentials.namespace}) if _is_configuration(obj) else obj for obj in objects]

    async def _live(self, places: Collection[Place]) -> Live:
        """What is labelled as ours there."""
        lists = await asyncio.gather(*(managed(self._kube, kind, namespace) for kind, namespace in places))
        return {
            (kind, namespace, obj["metadata"]["name"]): obj
            for (kind, namespace), listing in zip(places, lists, strict=True)
            for obj in listing
        }

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
