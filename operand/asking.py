"""Asks for the deletion of service objects of one kind: of whole namespaces at once, of single objects where needed.

No refusal ends it. What RBAC forbids, and an operand's webhook that cannot be reached, concern all objects alike and
are asked again calmly. Whatever else refuses a collection may concern one object of it: then each is asked for by
itself, so that one guarded object does not keep the others.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

from kube.errors import Conflict, KubeError, NotFound, is_missing_right, is_unreachable_webhook, refuses_one_object
from kube.resources import Resource
from operand.mandated import MandatedKube
from operand.service_objects import ServiceObject

AT_ONCE: Final = 8
"""Requests side by side."""
ASK_AGAIN: Final = 5.0
"""Seconds between requests for objects that could not be asked to go: an operand that is down is not hammered."""
FOR_ALL_ALIKE: Final = (0, 401, 429, 502, 503, 504)
"""Status codes, 0 for no answer, that say nothing about the objects of a collection."""

Key = tuple[str, str]


class Asking:
    """What was asked for in one attempt, and what was answered."""

    def __init__(self, resource: Resource, held: MandatedKube) -> None:
        self._resource = resource
        self._held = held
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asked: dict[str, float] = {}
        self._refused: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}
        self._unreachable = False

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
        due = {key: known[key] for key in wanted if self._is_due(known[key], now)}
        if not due:
            return
        self._asked.update({seen.uid: now for seen in due.values()})
        mixed = {key[0] for key, seen in known.items() if not seen.deleting and key not in wanted}
        whole = sorted({namespace for namespace, _ in due if namespace not in mixed})
        single = {key: seen for key, seen in due.items() if key[0] in mixed}
        if self._unreachable:
            self._unreachable = False
            if whole:
                await self._ask_namespace(whole.pop(0), known)
            else:
                key = next(iter(single))
                await self._ask_one(key, single.pop(key))
            if self._unreachable:
                return
        await asyncio.gather(
            *(self._ask_namespace(namespace, known) for namespace in whole),
            *(self._ask_one(key, seen) for key, seen in single.items()),
        )

    def _is_due(self, seen: ServiceObject, now: float) -> bool:
        recently = now - self._asked.get(seen.uid, -ASK_AGAIN) < ASK_AGAIN
        return not seen.deleting and seen.uid not in self._refused and not recently

    async def _ask_namespace(self, namespace: str, known: Mapping[Key, ServiceObject]) -> None:
        self._obstacles.pop(namespace, None)
        try:
            async with self._room:
                await self._held.delete_collection(self._resource, namespace)
        except NotFound:
            pass
        except KubeError as error:
            if _concerns_all(error):
                self._blocked(namespace, error)
                return
            left = [(key, seen) for key, seen in list(known.items()) if key[0] == namespace and not seen.deleting]
            for key, seen in left:
                await self._ask_one(key, seen)
                if self._unreachable:
                    return

    async def _ask_one(self, key: Key, seen: ServiceObject) -> None:
        namespace, name = key
        try:
            async with self._room:
                await self._held.delete(self._resource, name, namespace, uid=seen.uid)
            self._obstacles.pop(namespace, None)
        except Conflict:
            pass  # another object of that name by now; it is asked for itself
        except KubeError as error:
            if _concerns_all(error):
                self._blocked(namespace, error)
            else:  # not asked again in this attempt: only a person can change the answer
                self._refused[seen.uid] = f"{namespace}/{name}: {error}"

    def _blocked(self, namespace: str, error: KubeError) -> None:
        self._unreachable = True
        self._obstacles[namespace] = f"{namespace}: {error}"


def _concerns_all(error: KubeError) -> bool:
    """Whether the answer is about the kind, the server or the way to it, rather than about one object."""
    if refuses_one_object(error):
        return False
    return is_missing_right(error) or is_unreachable_webhook(error) or error.status in FOR_ALL_ALIKE
