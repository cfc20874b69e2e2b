"""The only way in which something is written or deleted for a CR: after a look that the CR still asks for it.

Every write follows a look at the CR that is at most `FRESH` seconds old, by clocks that also run while the process is
frozen, and the age is checked once more right before the request is sent. Whether another CR is responsible by now is
looked at less often, and watched: all CRs have to be read for that, which others may have made many and large. What
remains is the time between that check and the request's arrival: no instruction that waits lies in it, so about a
millisecond, and the network's delay. A process frozen in just that place sends one request late; deletions of single
objects carry the uid that was seen, and patches test it, so only an apply or one collection of one namespace could be
that request.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from kube.answers import Object
from kube.client import Deletion, Kube
from kube.errors import KubeError, Stale
from kube.inheritance import inheriting, is_shared
from kube.resources import BTP_OPERATORS, Resource
from models.deprovision import Removed
from models.mandate import Mandate, Purpose, why_lost
from models.operators import Operator, responsible

T = TypeVar("T")
FRESH: Final = 3.0
"""Seconds for which a look at the CR is believed."""
ALL_FRESH: Final = 15.0
"""Seconds for which it is believed that no other CR is responsible. A list of all may take longer than `FRESH`."""
TRIES: Final = 3
"""Looks in a row that may be too old when the request is about to be sent: then the API server is too slow."""
WATCH_AFTER: Final = 2.0
"""Seconds after which the CR itself is watched: work that is over sooner needs no watch."""
PAUSE: Final = 1.0
"""Seconds before the CR is looked at again when the API server did not answer."""
WATCH_SECONDS: Final = 280


class MandateLost(Exception):
    """The CR no longer asks for what is done for it. An outcome, not a failure; `str()` says why."""

    removed: Removed = Removed()
    """What had been removed until then."""


class OtherCluster(Exception):
    """The mandate is for another cluster than the one that is connected here. Another worker may have it."""


class MandatedKube:
    """Writes for one CR, each after a look that is fresh. Reading goes through `Kube` itself."""

    def __init__(self, kube: Kube, mandate: Mandate, purpose: Purpose) -> None:
        self._kube = kube
        self._mandate = mandate
        self._purpose = purpose
        self._seen = self._all_seen = _Clocks(never=True)
        self._me: Operator | None = None
        self._turn = asyncio.Lock()

    async def look(self) -> str:
        """Look at all CRs now. Returns the version of what was seen.

        Raises:
            MandateLost: the CR no longer asks for it.
            OtherCluster: this is not the mandate's cluster.
            KubeError: the API server did not answer.
        """
        began, operators, version = _Clocks(), list[Operator](), ""
        try:
            async for page, listed in self._kube.pages(BTP_OPERATORS, metadata_only=True):
                operators += map(Operator.from_object, page)  # a page at a time: others may have written large ones
                version = listed
        except KubeError as error:
            if error.status != 404:
                raise
            operators, version = [], ""  # the definition is not there, so no CR is
        await self._decide(operators)
        self._seen = self._all_seen = began
        return version

    async def _look_at_own(self) -> None:
        """Look at this CR alone: one small request, however many others there are. Raises what `look` raises."""
        began, ref = _Clocks(), self._mandate.ref
        found = await self._kube.find(BTP_OPERATORS, ref.name, ref.namespace, metadata_only=True)
        await self._decide([Operator.from_object(found)] if found else [])
        self._seen = began

    async def _decide(self, operators: Sequence[Operator]) -> None:
        ref = self._mandate.ref
        if lost := why_lost(ref, self._purpose, operators):
            if await self._kube.cluster_uid(again=True) != self._mandate.cluster:
                raise OtherCluster(f"BtpOperator {ref} is of another cluster than {self._kube.host}")
            raise MandateLost(lost)
        self._me = next(each for each in operators if each.ref.uid == ref.uid)

    async def hold(self) -> None:
        """Look, unless the last look is fresh. One look serves everybody who waits for it."""
        async with self._turn:
            if self._is_fresh():
                return
            if self._all_seen.age() > ALL_FRESH:
                await self.look()
            if not self._is_fresh():
                await self._look_at_own()

    async def apply(self, resource: Resource, obj: Object) -> Object:
        return await self._write(lambda: self._kube.apply(resource, obj, allowed=self._is_fresh))

    async def inherit(self, resource: Resource, live: Object) -> None:
        """Have our Apply own what a manager of our name set by Update: an apply that follows can let go of it.

        Raises:
            Conflict: the object is not as it was seen.
        """
        if is_shared(live):
            meta = live["metadata"]
            await self.json_patch(resource, meta["name"], meta.get("namespace"), inheriting(live))

    async def delete(self, resource: Resource, name: str, namespace: str | None, *, uid: str) -> Deletion:
        """Ask for the deletion of the very object that was seen."""
        return await self._write(lambda: self._kube.delete(resource, name, namespace, uid=uid, allowed=self._is_fresh))

    async def delete_collection(self, resource: Resource, namespace: str, *, fields: str = "") -> None:
        await self._write(
            lambda: self._kube.delete_collection(resource, namespace, fields=fields, allowed=self._is_fresh)
        )

    async def json_patch(
        self, resource: Resource, name: str, namespace: str | None, operations: Sequence[Mapping[str, Any]]
    ) -> Object:
        return await self._write(
            lambda: self._kube.json_patch(resource, name, namespace, operations, allowed=self._is_fresh)
        )

    async def _write(self, ask: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TRIES - 1):
            await self.hold()
            with contextlib.suppress(Stale):
                return await ask()
        await self.hold()
        return await ask()

    def _is_fresh(self) -> bool:
        return self._seen.age() < FRESH

    async def watch(self) -> str:
        """Return why the mandate is lost, as soon as it is: within a second of the change."""
        while True:
            try:
                version = await self.look()
                events = self._kube.watch(
                    BTP_OPERATORS,
                    resource_version=version,
                    metadata_only=True,
                    seconds=WATCH_SECONDS,
                    silence=75,
                )
                async with contextlib.aclosing(events):
                    async for event in events:
                        if event["type"] in ("ADDED", "MODIFIED", "DELETED") and self._concerns(event["object"]):
                            await self.look()
            except MandateLost as lost:
                return str(lost)
            except (KubeError, OtherCluster):
                await asyncio.sleep(PAUSE)

    def _concerns(self, changed: Object) -> bool:
        """Whether it is this CR that changed, or one that would be responsible in its place. Others change often."""
        other = Operator.from_object(changed)
        return self._me is None or other.ref.uid == self._me.ref.uid or responsible([self._me, other]) == other


@contextlib.asynccontextmanager
async def holding(kube: Kube, mandate: Mandate, purpose: Purpose) -> AsyncIterator[MandatedKube]:
    """Do something for a CR for as long as it asks for it. What takes longer than a moment watches the CR meanwhile.

    Raises:
        MandateLost: at the beginning, or in the middle: the block is cancelled then.
        OtherCluster: this is not the mandate's cluster.
        KubeError: the API server did not answer.
    """
    held = MandatedKube(kube, mandate, purpose)
    await held.look()
    working = asyncio.current_task()
    assert working is not None
    lost: list[str] = []

    async def watch() -> None:
        await asyncio.sleep(WATCH_AFTER)
        lost.append(await held.watch())
        working.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield held
    except asyncio.CancelledError:
        if lost and working.cancelling() == 1:
            raise MandateLost(lost[0]) from None
        raise
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        if lost:
            working.uncancel()  # our own request to cancel has been served, or came after the last line of the block


class _Clocks:
    """A moment, by a clock that runs while the machine sleeps and by the wall clock, whichever says that more passed.

    The first does not count while a virtual machine is paused; the second is set right after such a pause.
    """

    def __init__(self, never: bool = False) -> None:
        self._never = never
        self._boot = time.clock_gettime(_BOOT)
        self._wall = time.time()

    def age(self) -> float:
        """Seconds since then; infinite for a moment that never was, or a wall clock that was set back."""
        wall = time.time() - self._wall
        if self._never or wall < 0:
            return float("inf")
        return max(wall, time.clock_gettime(_BOOT) - self._boot)


_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
