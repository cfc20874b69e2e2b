"""What an apply would change. Where our own comparison is in doubt the API server decides, by a dry run.

It alone knows how it spells a value, and what admission adds to it or makes of it. Its answer is remembered for as
long as neither the object nor what we want of it changes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kube.answers import Object, is_object
from kube.client import Kube
from kube.drift import changed_by_apply, looks_drifted
from kube.errors import Conflict, NotFound, Refused
from kube.inheritance import is_shared
from operand.rendered_vs_live import Item

BELIEVED_FOR: Final = 600.0
"""Seconds after which the API server is asked again: a policy that rewrites what we apply may have gone."""


@dataclass(frozen=True)
class _Answer:
    """Applying `wanted` to the object in this version changes nothing."""

    uid: str
    version: str
    wanted: Object
    until: float


class Drift:
    """Kept by a process for one cluster; it remembers one answer for each object of the chart."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._answers: dict[str, _Answer] = {}

    async def among(self, items: Sequence[Item]) -> list[Item]:
        """The items that an apply would change. Writes nothing."""
        return [item for item in self.suspected(items) if await self._would_change(item)]

    def suspected(self, items: Sequence[Item]) -> list[Item]:
        """The items that an apply may change, as far as can be said without asking the API server."""
        return [item for item in items if looks_drifted(item.wanted, item.live) and not self._is_settled(item)]

    def settle(self, item: Item, after: Object) -> bool:
        """Whether an apply, which left `after`, changed the item; that it did not is remembered."""
        if changed_by_apply(item.live, after):
            self._answers.pop(item.name, None)
            return True
        meta = after["metadata"]
        until = time.monotonic() + BELIEVED_FOR
        self._answers[item.name] = _Answer(meta["uid"], meta["resourceVersion"], item.wanted, until)
        return False

    async def _would_change(self, item: Item) -> bool:
        if item.live is None or item.live["metadata"].get("deletionTimestamp") or is_shared(item.live):
            return True
        try:
            after = await self._kube.rehearse(item.resource, item.wanted)
        except (Refused, Conflict, NotFound):
            return True  # applying meets the same trouble, and names it
        return not is_object(after) or self.settle(item, after)

    def _is_settled(self, item: Item) -> bool:
        answer = self._answers.get(item.name)
        if answer is None or item.live is None or time.monotonic() > answer.until:
            return False
        meta = item.live["metadata"]
        return (answer.uid, answer.version, answer.wanted) == (meta["uid"], meta["resourceVersion"], item.wanted)
