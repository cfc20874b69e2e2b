"""Deletes every ServiceBinding, then every ServiceInstance, through the operand and SAP Service Manager.

Instances wait until the operand is done with the last binding: Service Manager refuses an instance that still has
bindings, and each refusal costs the operand a growing pause. Where the operand's finalizer is off and only somebody
else's keeps an object, there is nothing to wait for: it is named, and the deletion goes on. One attempt watches for
about a minute; the budget over all attempts is kept by the Temporal server.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from temporalio import activity

from activities.progress import Progress, heartbeating, permanent, still_waiting
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound, Refused
from kube.reflector import Change, Reflector, Source
from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.conditions import Reason
from models.deprovision import HardDeleted, HardDeleteInput, Removed
from operand.service_objects import ServiceObject, remove_secret

AT_ONCE: Final = 8
ASK_AGAIN: Final = 5.0
"""Seconds between requests for objects that could not be asked to go: an operand that is down is not hammered."""
GATHER: Final = 0.05
"""Seconds in which further changes are gathered: looking costs time that grows with the number of objects."""
NAMED: Final = 3
ONE: Final = {SERVICE_BINDINGS: Removed(bindings=1), SERVICE_INSTANCES: Removed(instances=1)}


class HardDeleteActivities:
    """One activity, which may be tried many times; the cluster is what it goes on from."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def hard_delete(self, input: HardDeleteInput) -> HardDeleted:
        """Return what was seen to go, once nothing is left for the operand to do.

        Raises:
            ApplicationError: the attempt is over, with what is left named; or RBAC forbids it for good.
        """
        deadline = time.monotonic() + input.attempt.total_seconds()
        async with heartbeating() as progress:
            kept = [
                named
                for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES)
                for named in await _Removal(self._kube, resource, progress, deadline).run()
            ]
            return HardDeleted(**progress.removed.model_dump(), kept=kept)


class _Removal:
    """The removal of all objects of one kind, as far as one attempt gets."""

    def __init__(self, kube: Kube, resource: Resource, progress: Progress, deadline: float) -> None:
        self._kube = kube
        self._resource = resource
        self._progress = progress
        self._deadline = deadline
        self._changed = asyncio.Event()
        self._reflector = Reflector(
            kube, Source(resource, ServiceObject.digest, metadata_only=False), on_sync=self._changed.set
        )
        self._asked: dict[str, float] = {}
        self._refused: set[str] = set()
        self._obstacles: dict[str, str] = {}
        self._unreachable = False
        self._secrets: set[tuple[str, str, str]] = set()

    async def run(self) -> list[str]:
        """Go on until the operand is done with each and their Secrets are gone. Returns some of what others keep."""
        try:
            await self._kube.first_page(self._resource, 1)
        except NotFound:
            return []  # the CRD is not there, so nothing of its kind is
        except KubeError as error:
            _raise_if_forbidden(error, self._resource)
            raise
        following = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self._deadline - time.monotonic()):
                while not await self._is_done():
                    self._progress.say(self._left())
                    await self._wait_for_change()
                return list(islice(self._kept(), NAMED))
        except TimeoutError:
            raise still_waiting(self._left(), pause=0.1) from None
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _is_done(self) -> bool:
        if not self._reflector.synced:
            return False
        now = time.monotonic()
        due = {
            key: seen
            for key, seen in self._reflector.known.items()
            if not seen.deleting
            and seen.uid not in self._refused
            and now - self._asked.get(seen.uid, -ASK_AGAIN) >= ASK_AGAIN
        }
        if due:
            self._asked.update({seen.uid: now for seen in due.values()})
            await self._ask(sorted({namespace for namespace, _ in due}))
        await self._look_at_secrets()
        return all(seen.kept_by for seen in self._reflector.known.values()) and not self._secrets

    async def _ask(self, namespaces: list[str]) -> None:
        """Ask for the deletion of everything in these namespaces, some at a time.

        While the operand's webhook cannot be reached, one namespace is asked first, and the others only if it works.
        """
        room = asyncio.Semaphore(AT_ONCE)
        if self._unreachable:
            self._unreachable = False
            await self._ask_namespace(namespaces.pop(0), room)
            if self._unreachable:
                return
        await asyncio.gather(*(self._ask_namespace(namespace, room) for namespace in namespaces))

    async def _ask_namespace(self, namespace: str, room: asyncio.Semaphore) -> None:
        async with room:
            self._obstacles.pop(namespace, None)
            try:
                await self._kube.delete_collection(self._resource, namespace)
            except Refused as error:
                _raise_if_forbidden(error, self._resource)
                await self._ask_one_by_one(namespace)
            except NotFound:
                pass
            except KubeError as error:
                self._unreachable = True
                self._obstacles[namespace] = f"{namespace}: {error}"

    async def _ask_one_by_one(self, namespace: str) -> None:
        """A collection stops at the first object that admission refuses (preventDeletion): ask for each of the rest.

        What was refused is not asked again in this attempt: only a person can change its mind.
        """
        for (where, name), seen in list(self._reflector.known.items()):
            if where != namespace or seen.deleting:
                continue
            try:
                await self._kube.delete(self._resource, name, namespace, uid=seen.uid)
            except Refused as error:
                self._refused.add(seen.uid)
                self._obstacles[f"{namespace}/{name}"] = f"{namespace}/{name}: {error}"
            except Conflict:
                pass  # another object of that name by now; it is asked for itself
            except KubeError as error:
                self._unreachable = True
                self._obstacles[f"{namespace}/{name}"] = f"{namespace}/{name}: {error}"

    async def _look_at_secrets(self) -> None:
        """A binding's Secret goes with it; whichever the operand and the garbage collector left is removed here."""
        looked, self._secrets = self._secrets, set()
        room = asyncio.Semaphore(AT_ONCE)

        async def look(namespace: str, name: str, uid: str) -> None:
            async with room:
                try:
                    gone = await remove_secret(self._kube, namespace, name, uid)
                    self._progress.removed += Removed(secrets=int(gone))
                except Conflict:
                    pass  # somebody made another Secret of that name meanwhile
                except KubeError as error:
                    _raise_if_forbidden(error, self._resource)
                    self._secrets.add((namespace, name, uid))

        await asyncio.gather(*(look(*secret) for secret in looked))

    async def _wait_for_change(self) -> None:
        """Until something changed, but a second at most. A burst of changes is looked at once, not once for each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._changed.wait()
        await asyncio.sleep(GATHER)
        self._changed.clear()

    async def _follow(self) -> None:
        async for change in self._reflector.changes():
            self._note(change)
            self._changed.set()

    def _note(self, change: Change) -> None:
        if change.after is None:
            self._progress.removed += ONE[self._resource]
            namespace, name = change.key
            self._obstacles.pop(f"{namespace}/{name}", None)
            if change.before.secret:
                self._secrets.add((namespace, change.before.secret, change.before.uid))

    def _kept(self) -> Iterator[str]:
        for (namespace, name), seen in self._reflector.known.items():
            if seen.kept_by:
                yield f"{self._resource.kind} {namespace}/{name} (kept by {seen.kept_by})"

    def _left(self) -> str:
        known = self._reflector.known
        names = ", ".join(f"{namespace}/{name}" for namespace, name in islice(known, NAMED))
        text = f"{len(known)} {self._resource.kind}s left" + (f": {names}" if names else "")
        if self._obstacles:
            text += f"; not accepted: {'; '.join(list(self._obstacles.values())[:NAMED])}"
        if said := next((seen.message for seen in known.values() if seen.message), ""):
            text += f"; last message: {said}"
        if kept := ", ".join(islice(self._kept(), NAMED)):
            text += f"; the operand is done with {kept}"
        if self._reflector.trouble:
            text += f"; {self._reflector.trouble}"
        return text


def _raise_if_forbidden(error: KubeError, resource: Resource) -> None:
    """RBAC's no is for good; admission's no is about one object."""
    if error.status in (401, 403) and "admission webhook" not in str(error):
        raise permanent(Reason.RESOURCE_REMOVAL_FAILED, f"{resource.kind}s cannot be deleted: {error}") from error
