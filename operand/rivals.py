"""Who changes back what we apply: found in the API server's record of fields, which a new worker sees too."""

import time
from datetime import timedelta
from typing import Final

from kube.answers import Object
from kube.drift import applied_at, taken_fields
from models.provision import MAX_TEXT, Contest
from models.text import plain
from operand.rendered_vs_live import Item

SOON: Final = timedelta(minutes=12)
"""A field that is changed this soon after our apply may be contested; later it is drift as any other.

GitOps tools look at what they own every three to ten minutes where nobody tells them of a change.
"""
MOST_FIELDS: Final = 5
"""Fields of one object that are named."""


class Rivals:
    """Compares an object before and after our apply. Of deleted objects only this process's own writes tell."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, str], float] = {}

    def contests(self, owner: str, item: Item, after: Object) -> list[Contest]:
        """The fields that somebody had changed soon after they were last applied for the CR with uid `owner`."""
        key, now = (owner, item.name), time.monotonic()
        last, self._written[key] = self._written.get(key), now
        if item.live is None:
            within = timedelta(seconds=now - last) if last is not None else None
            return [Contest(object=item.name, field="", within=within)] if within and within <= SOON else []
        before, since = applied_at(item.live), applied_at(after)
        if before is None or since is None or since - before > SOON:
            return []
        return [
            Contest(
                object=item.name,
                field=plain(field, MAX_TEXT),
                manager=plain(manager, MAX_TEXT),
                within=min(max((at or since) - before, timedelta()), SOON),
            )
            for field, manager, at in list(taken_fields(item.wanted, item.live))[:MOST_FIELDS]
        ]
