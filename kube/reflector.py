"""Follows the objects of one kind: list, watch from the list's version, and list again when the watch ends, for ever.

What comes out is level, not edge: each change names the object before and after, and what was missed is found by
comparing the new list with what was known. Deletions included. However a watch ends, a list follows: one that went on
from an old version would believe a server that is behind, or whose data was restored, and miss the present in silence.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from prometheus_client import Counter

from kube.backoff import pause_after
from kube.client import Kube
from kube.errors import Expired, KubeError, Silent, Unavailable
from kube.resources import Resource

SHORTEST_WATCH: Final = 0.8
"""Of the length that a watch may have: so that those which began together do not all end together."""
RESTARTS: Final = Counter("btp_watch_restarts", "Lists made again because of trouble", ("kind",))
log = structlog.get_logger(__name__)

Digest = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Source:
    """What to follow. `digest` keeps of each object only what decisions need, so memory stays small."""

    resource: Resource
    digest: Digest
    namespace: str | None = None
    labels: str = ""
    fields: str = ""
    metadata_only: bool = True


@dataclass(frozen=True)
class Change:
    """One object before and after; `before` is None when it is new, `after` is None when it is gone."""

    source: Source
    key: tuple[str, str]
    before: Any
    after: Any


@dataclass
class Reflector:
    """One followed source. `known` maps (namespace, name) to the digest of what is there."""

    kube: Kube
    source: Source
    known: dict[tuple[str, str], Any] = field(default_factory=dict)
    synced: bool = False
    """Whether the list was read and the watch is going."""
    heard: float = field(default_factory=time.monotonic)
    """When the server last sent an event, a bookmark or a list. That it accepted a watch is no news of the objects."""
    trouble: str = ""
    failures: int = 0
    """Troubles in a row, since the server last said something in a watch."""
    watch_seconds: int = 290
    """After which the server is asked to end a watch, at the latest."""
    silence: float = 75.0
    """Seconds without a byte after which a watch is given up; bookmarks come every minute where anything changes."""
    on_sync: Callable[[], None] = lambda: None
    """Called each time the list was read, also when it brought nothing new."""

    def __post_init__(self) -> None:
        RESTARTS.labels(self.source.resource.kind)  # shown as 0: a rate needs a beginning

    async def changes(self) -> AsyncIterator[Change]:
        """Every change, from the first list on. Ends only when it is cancelled."""
        while True:
            try:
                async for change in self._list_and_watch():
                    yield change
            except KubeError as error:
                self.synced = False
                if not isinstance(error, Expired):
                    if not self.failures:  # one line for a trouble, not one for each retry
                        kind = self.source.resource.kind
                        log.warning("watch interrupted, listing again", kind=kind, error=str(error))
                    self.trouble = str(error)
                self.failures += 1
                RESTARTS.labels(self.source.resource.kind).inc()
                await asyncio.sleep((error.retry_after or 0.0) + pause_after(self.failures))

    async def _list_and_watch(self) -> AsyncIterator[Change]:
        source = self.source
        version = ""
        seen: set[tuple[str, str]] = set()
        async for page, listed in self.kube.pages(
            source.resource,
            source.namespace,
            labels=source.labels,
            fields=source.fields,
            metadata_only=source.metadata_only,
        ):
            version = listed
            self._hear()
            for obj in page:
                seen.add(_key(obj))
                if change := self._update(obj):
                    yield change
        for key in [key for key in self.known if key not in seen]:
            yield Change(source, key, self.known.pop(key), None)  # deleted while nobody watched
        self.synced, self.trouble = True, ""
        self.on_sync()
        began = time.monotonic()
        with contextlib.suppress(Silent):  # nothing to hear, or a dead connection: the list tells
            async for event in self.kube.watch(
                source.resource,
                source.namespace,
                resource_version=version,
                labels=source.labels,
                fields=source.fields,
                metadata_only=source.metadata_only,
                seconds=round(self.watch_seconds * random.uniform(SHORTEST_WATCH, 1)),
                silence=self.silence,
            ):
                if event["type"] == "OPENED":
                    continue
                self._hear()
                self._recover()
                version = _later(version, event, source.resource)
                if event["type"] != "BOOKMARK" and (change := self._changed(event)):
                    yield change
        if time.monotonic() - began < 1:
            raise Unavailable(f"watch {source.resource.plural}: the server ends it at once")
        self._recover()

    def _recover(self) -> None:
        if self.failures:
            log.info("watching again", kind=self.source.resource.kind)
            self.failures = 0

    def _changed(self, event: Mapping[str, Any]) -> Change | None:
        return self._remove(event["object"]) if event["type"] == "DELETED" else self._update(event["object"])

    def _update(self, obj: Mapping[str, Any]) -> Change | None:
        key, after = _key(obj), self.source.digest(obj)
        before = self.known.get(key)
        self.known[key] = after
        return Change(self.source, key, before, after) if before != after else None

    def _remove(self, obj: Mapping[str, Any]) -> Change | None:
        key = _key(obj)
        if key not in self.known:
            return None
        return Change(self.source, key, self.known.pop(key), None)

    def _hear(self) -> None:
        self.heard = time.monotonic()


def check_followers(followers: Iterable[asyncio.Task[None]]) -> None:
    """Raise what ended a task that follows a reflector: whoever waits for what it hears would wait in vain."""
    for task in followers:
        if task.done():
            task.result()


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _later(version: str, event: Mapping[str, Any], resource: Resource) -> str:
    """The version up to which all is known, after this event: bookmarks move it.

    Raises:
        Expired: the event is older. The server's data went back, and what it sent since does not belong together.
    """
    new = str(event["object"]["metadata"].get("resourceVersion") or version)
    if version.isdecimal() and new.isdecimal() and int(new) < int(version):
        raise Expired(f"watch {resource.plural}: version {new} after {version}")
    return new if event["type"] == "BOOKMARK" else version
