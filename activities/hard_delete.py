"""Deletes every ServiceBinding and ServiceInstance through the operand and SAP Service Manager.

The operand works on both kinds side by side, so an instance is asked to go within half a second of its own last
binding being seen gone: not earlier, for Service Manager refuses an instance that still has bindings, and each refusal
costs the operand a growing pause. In the last quarter of the time it is asked for all the same. Where the operand's
finalizer is off and only somebody else's keeps an object, there is nothing to wait for: it is named, and the deletion
goes on. No refusal ends an attempt: it is named, and asked for again calmly. One attempt watches for about a minute;
the budget over all attempts is kept by the Temporal server.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from temporalio import activity

from activities.edge import checked
from activities.progress import LAST, Progress, heartbeating
from kube.client import Kube
from kube.errors import KubeError, Refused
from kube.reflector import Change, Reflector, Source, check_followers
from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from kube.side_by_side import side_by_side
from models.deprovision import HardDeleted, HardDeleteInput, Removed, counted
from models.mandate import Purpose
from operand.asking import SOME_EVERY, Asking
from operand.mandated import MandatedKube, holding
from operand.service_objects import ServiceObject, first_few, remove_secret

GATHER: Final = 0.05
"""Seconds in which further changes are gathered: looking costs time that grows with the number of objects."""
NAMED: Final = 3
REPORT_AFTER: Final = 3.0
"""Seconds after which an obstacle is reported on the CR: most pass sooner."""
ONE: Final = {SERVICE_BINDINGS: Removed(bindings=1), SERVICE_INSTANCES: Removed(instances=1)}
KINDS: Final = (SERVICE_BINDINGS, SERVICE_INSTANCES)


class HardDeleteActivities:
    """One activity, which may be tried many times; the cluster is what it goes on from."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def hard_delete_service_objects(self, input: HardDeleteInput) -> HardDeleted:
        """Return what was seen to go, once nothing is left for the operand to do.

        Raises:
            ApplicationError: the attempt is over, with what is left and what stands in the way named.
        """
        async with heartbeating() as progress, holding(self._kube, input.mandate, Purpose.DELETE) as held:
            progress.got_answer()
            attempt = _Attempt(self._kube, held, progress, input)
            kept = await attempt.run()
            removed = progress.removed.model_dump()
            if attempt.news is not None:
                return HardDeleted(**removed, is_done=False, obstacles=attempt.news)
            return HardDeleted(**removed, kept=kept)


class _Attempt:
    """The deletion of all objects of both kinds, as far as one attempt gets."""

    def __init__(self, kube: Kube, held: MandatedKube, progress: Progress, input: HardDeleteInput) -> None:
        self._kube = kube
        self._held = held
        self._progress = progress
        self._input = input
        self._changed = asyncio.Event()
        self._reflectors: dict[Resource, Reflector] = {}
        self._following: list[asyncio.Task[None]] = []
        self._asking = {kind: Asking(kind, held) for kind in KINDS}
        self._secrets: set[tuple[str, str, str]] = set()
        self._trouble = ""
        self._other_since: float | None = None
        self.news: dict[str, str] | None = None
        """Obstacles that the CR does not name yet, or names although they are gone; they ended the attempt."""

    async def run(self) -> list[str]:
        """Go on until the operand is done with each and their Secrets are gone. Returns some of what others keep."""
        for kind in KINDS:
            if await first_few(self._kube, kind, 1) is not None:
                source = Source(kind, ServiceObject.digest, metadata_only=False)
                self._reflectors[kind] = Reflector(self._kube, source, on_sync=self._changed.set)
        self._following = [asyncio.create_task(self._follow(kind)) for kind in self._reflectors]
        try:
            async with asyncio.timeout(self._input.attempt.total_seconds()):
                while not await self._is_done():
                    self._progress.say(self._left())
                    if self._has_news():
                        return []
                    await self._wait_for_change()
                return list(islice(self._kept(), NAMED))
        except TimeoutError:
            raise self._progress.still_waiting(self._left(), pause=0.1) from None
        finally:
            for asking in self._asking.values():
                await asking.close()
            for task in self._following:
                task.cancel()
            await asyncio.gather(*self._following, return_exceptions=True)

    async def _is_done(self) -> bool:
        if not await self._hear():
            return False
        await self._ask()
        await self._look_at_secrets()
        known = [seen for kind in self._reflectors for seen in self._known(kind).values()]
        return all(seen.kept_by for seen in known) and not self._secrets

    async def _hear(self) -> bool:
        """Whether all is being followed. An API server that says nothing for long is asked something."""
        check_followers(self._following)
        if not self._is_synced():
            return False
        reflectors = self._reflectors.values()
        silent = max((time.monotonic() - reflector.heard for reflector in reflectors), default=0.0)
        if silent > self._input.answer_every.total_seconds():
            await self._held.hold()
            silent = 0.0
        self._progress.got_answer(silent)
        return True

    async def _ask(self) -> None:
        """Ask for every binding, and for each instance that no binding, and no instance that refers to it, needs.

        Towards the end ask for all: what one tenant's object keeps from going is for SAP to decide then, not for it.
        """
        bindings, instances = self._known(SERVICE_BINDINGS), self._known(SERVICE_INSTANCES)
        bound = {seen.instance for seen in bindings.values() if not seen.kept_by}  # those are gone in SAP BTP
        referred = any(seen.refers and not seen.kept_by for seen in instances.values())
        waiting = {key for key, seen in instances.items() if seen.shared and not seen.refers and referred}
        in_order = self._progress.share_left() > LAST  # then no instance waits for a binding or a reference any more
        free = instances.keys() - bound - waiting if in_order else set(instances)
        await asyncio.gather(
            self._asking[SERVICE_BINDINGS].ask(bindings, set(bindings)),
            self._asking[SERVICE_INSTANCES].ask(instances, free),
        )

    async def _look_at_secrets(self) -> None:
        """A binding's Secret goes with it; whichever the operand and the garbage collector left is removed here."""
        looked, self._secrets = self._secrets, set()

        async def look(secret: tuple[str, str, str]) -> None:
            namespace, name, uid = secret
            try:
                gone = await remove_secret(self._kube, self._held, namespace, name, uid)
                self._progress.removed += Removed(secrets=int(gone))
            except Refused as error:
                self._trouble = f"Secret {namespace}/{name} was left alone: {error}"
            except KubeError as error:
                self._secrets.add(secret)
                self._trouble = f"Secret {namespace}/{name}: {error}"

        await side_by_side(look, looked)

    async def _wait_for_change(self) -> None:
        """Until something changed, but not for long. A burst of changes is looked at once, not once for each."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOME_EVERY):
                await self._changed.wait()
        await asyncio.sleep(GATHER)
        self._changed.clear()

    async def _follow(self, kind: Resource) -> None:
        async for change in self._reflectors[kind].changes():
            self._note(kind, change)
            self._changed.set()

    def _note(self, kind: Resource, change: Change) -> None:
        if change.after is None:
            self._progress.removed += ONE[kind]
            namespace, _ = change.key
            if change.before.secret:
                self._secrets.add((namespace, change.before.secret, change.before.uid))

    def _known(self, kind: Resource) -> dict[tuple[str, str], ServiceObject]:
        reflector = self._reflectors.get(kind)
        return reflector.known if reflector else {}

    def _kept(self) -> Iterator[str]:
        for kind in KINDS:
            for (namespace, name), seen in self._known(kind).items():
                if seen.kept_by:
                    yield f"{kind.kind} {namespace}/{name} (kept by {seen.kept_by})"

    def _obstacles(self) -> dict[str, str]:
        """The first few, in an order that does not change by itself."""
        found = {
            f"{kind.plural}/{key}": text
            for kind, asking in self._asking.items()
            for key, text in asking.obstacles().items()
        }
        return dict(sorted(found.items())[:NAMED])

    def _has_news(self) -> bool:
        """Whether other obstacles than those that the CR names have stood there for a moment."""
        now, obstacles = time.monotonic(), self._obstacles()
        late = self._progress.share_left() <= LAST
        if late or obstacles.keys() == self._input.reported.keys() or not self._is_synced():
            self._other_since = None
            return False
        if self._other_since is None:
            self._other_since = now
        if now - self._other_since < REPORT_AFTER:
            return False
        self.news = obstacles
        return True

    def _is_synced(self) -> bool:
        """Whether all objects are known, and were asked for: only then is an obstacle known to be gone."""
        return all(reflector.synced for reflector in self._reflectors.values())

    def _left(self) -> str:
        parts = []
        for kind in KINDS:
            known = self._known(kind)
            if known:
                names = ", ".join(f"{namespace}/{name}" for namespace, name in islice(known, NAMED))
                parts.append(f"{counted(len(known), kind.kind)} left: {names}")
        text = "; ".join(parts) or "no service objects left"
        if obstacles := self._obstacles():
            text += f"; not accepted: {'; '.join(obstacles.values())}"
        said = (seen.message for kind in KINDS for seen in self._known(kind).values() if seen.message)
        if message := next(said, ""):
            text += f"; last message: {message}"
        if kept := ", ".join(islice(self._kept(), NAMED)):
            text += f"; released by the operand: {kept}"
        for trouble in (self._trouble, *(reflector.trouble for reflector in self._reflectors.values())):
            text += f"; {trouble}" if trouble else ""
        return text
