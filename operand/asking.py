"""Asks for the deletion of service objects of one kind: of whole namespaces at once, of single objects where needed.

No refusal ends it. What RBAC forbids, and an operand's webhook that cannot be reached, concern all objects alike and
are asked again calmly. Whatever else refuses a collection may concern one object of it: then each is asked for by
itself, so that one guarded object does not keep the others. One namespace is asked for after the other, because the
operand deletes in the order in which it was asked: so each becomes free as a whole. One that answers late, as where a
webhook of its own stands in between, is not waited for.

What may go now, beside objects of its namespace that may not yet, is asked for in small collections that leave the
others out. They follow one another at pauses of a twentieth of the time that all of it will take: asking sooner would
gain no more than that, and a namespace costs a few requests, not one for each object.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

from kube.errors import Conflict, KubeError, NotFound, is_missing_right, is_unreachable_webhook, refuses_one_object
from kube.resources import Resource
from kube.side_by_side import side_by_side
from operand.mandated import MandatedKube
from operand.service_objects import ServiceObject

PATIENCE: Final = 0.3
"""Seconds that one namespace is waited for before the next one is asked for."""
SOME_EVERY: Final = 0.5
SELDOM: Final = 10.0
"""Seconds between requests for parts of namespaces, at least and at most."""
SHARE: Final = 0.05
"""Of the time until the last object may go, as far as one can tell: the pause, within these bounds."""
FEW: Final = 2
"""As many objects are asked for by themselves, with the uid that was seen."""
LONGEST_SELECTOR: Final = 6000
"""Characters: proxies in front of an API server take request lines of 8 KiB."""
ASK_AGAIN: Final = 5.0
"""Seconds between requests for objects that could not be asked to go: an operand that is down is not hammered."""
FOR_ALL_ALIKE: Final = (0, 401, 429, 502, 503, 504)
"""Status codes, 0 for no answer, that say nothing about the objects of a collection."""

Key = tuple[str, str]
Objects = dict[Key, ServiceObject]


class Asking:
    """What was asked for in one attempt, and what was answered."""

    def __init__(self, resource: Resource, held: MandatedKube) -> None:
        self._resource = resource
        self._held = held
        self._began = time.monotonic()
        self._most = 0
        self._some_asked = -SOME_EVERY
        self._asked: dict[str, float] = {}
        self._refused: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}
        self._unreachable = False
        """Whether the last answer said that nothing of the kind can be deleted."""
        self._under_way: dict[str, asyncio.Task[None]] = {}
        """Requests without an answer yet, by namespace."""

    def obstacles(self) -> dict[str, str]:
        """What stands in the way, by namespace or by the object's uid: its name, and the answer."""
        return {**self._obstacles, **self._refused}

    async def ask(self, known: Mapping[Key, ServiceObject], wanted: set[Key]) -> None:
        """Ask for the deletion of the wanted ones of the known objects, unless that was done a moment ago.

        While nothing of the kind can be deleted at all, one namespace is asked first, and the others only if it works.
        """
        now = time.monotonic()
        there = {seen.uid for seen in known.values()}
        self._refused = {uid: text for uid, text in self._refused.items() if uid in there}
        others: dict[str, list[str]] = {}
        for (namespace, name), seen in known.items():
            if not seen.deleting and ((namespace, name) not in wanted or seen.uid in self._refused):
                others.setdefault(namespace, []).append(name)
        self._end_answered()
        due = self._due(known, wanted, others, now)
        for namespace, objects in sorted(due.items()):
            if time.monotonic() - now > SOME_EVERY or (self._unreachable and self._under_way):
                break  # the rest comes next time, when there may be news
            self._asked.update({seen.uid: now for seen in objects.values()})
            asking = asyncio.create_task(self._ask_namespace(namespace, objects, others.get(namespace, [])))
            self._under_way[namespace] = asking
            await asyncio.wait((asking,), timeout=PATIENCE)
            self._end_answered()
            if self._unreachable:  # all of them are asked again later
                self._asked.update({seen.uid: now for objects in due.values() for seen in objects.values()})
                break

    async def close(self) -> None:
        """Wait for no answer any longer."""
        for asking in self._under_way.values():
            asking.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    def _end_answered(self) -> None:
        for namespace, asking in list(self._under_way.items()):
            if asking.done():
                del self._under_way[namespace]
                asking.result()  # raises what ended it

    def _due(
        self, known: Mapping[Key, ServiceObject], wanted: set[Key], others: Mapping[str, list[str]], now: float
    ) -> dict[str, Objects]:
        """What to ask for now, by namespace. Parts of namespaces wait for their turn."""
        due: dict[str, Objects] = {}
        for key in wanted:
            if key[0] not in self._under_way and self._is_due(known[key], now):
                due.setdefault(key[0], {})[key] = known[key]
        parts = sorted(others.keys() & due.keys(), key=lambda namespace: -len(due[namespace]))
        if parts:
            self._most = max(self._most, len(known))
            free = self._most - sum(map(len, others.values()))
            in_all = (now - self._began) * self._most / free
            pause = min(max(SOME_EVERY, SHARE * in_all), SELDOM)
            at_once = 1 if len(due[parts[0]]) > FEW else FEW
            turn = parts[:at_once] if now - self._some_asked >= pause else []
            if turn:
                self._some_asked = now
            for namespace in set(parts) - set(turn):
                del due[namespace]
        return due

    def _is_due(self, seen: ServiceObject, now: float) -> bool:
        recently = now - self._asked.get(seen.uid, -ASK_AGAIN) < ASK_AGAIN
        return not seen.deleting and seen.uid not in self._refused and not recently

    async def _ask_namespace(self, namespace: str, due: Objects, others: Sequence[str]) -> None:
        """Ask for these objects of a namespace, and not for the others."""
        without = ",".join(f"metadata.name!={name}" for name in others)
        if others and (len(due) <= FEW or len(without) > LONGEST_SELECTOR):
            await side_by_side(lambda key: self._ask_one(key, due[key]), due)
            return
        try:
            await self._held.delete_collection(self._resource, namespace, fields=without)
            self._reached(namespace)
        except NotFound:
            self._reached(namespace)
        except KubeError as error:
            if _concerns_all(error):
                self._blocked(namespace, error)
                return
            self._reached(namespace)
            for key, seen in due.items():
                await self._ask_one(key, seen)
                if self._unreachable:
                    return

    async def _ask_one(self, key: Key, seen: ServiceObject) -> None:
        namespace, name = key
        try:
            await self._held.delete(self._resource, name, namespace, uid=seen.uid)
            self._reached(namespace)
        except Conflict:
            self._reached(namespace)  # another object of that name by now; it is asked for itself
        except KubeError as error:
            if _concerns_all(error):
                self._blocked(namespace, error)
            else:  # not asked again in this attempt: only a person can change the answer
                self._reached(namespace)
                self._refused[seen.uid] = f"{namespace}/{name}: {error}"

    def _reached(self, namespace: str) -> None:
        self._unreachable = False
        self._obstacles.pop(namespace, None)

    def _blocked(self, namespace: str, error: KubeError) -> None:
        self._unreachable = True
        self._obstacles[namespace] = f"{namespace}: {error}"


def _concerns_all(error: KubeError) -> bool:
    """Whether the answer is about the kind, the server or the way to it, rather than about one object."""
    if refuses_one_object(error):
        return False
    return is_missing_right(error) or is_unreachable_webhook(error) or error.status in FOR_ALL_ALIKE
