"""One round through the report: bindings first, then instances, a few side by side, each only with its mandate.

What Service Manager says of a batch is read first, for that is slow; then the cluster, the report and the consent are
looked at, and the deletions follow at once. Killed anywhere, a round leaves a report that names one too many, never one
too few.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Final

from kube.client import Kube
from kube.fence import NotSent
from models.reclaim import LEAVES_THE_REPORT, Outcome, Round, Told
from operand.living import LivingObjects, look_at_living_objects
from operand.reclaim_outcomes import ReclaimOutcomes
from operand.reclaim_report import Entry, ReclaimReport
from operand.reclaim_rules import Verdict, why_not_abandoned, why_not_asked, why_not_ours
from operand.sap_answers import SapObject, ServiceManagerAway, ServiceManagerError, ServiceManagerRefused
from operand.service_manager import Kind, ServiceManager

AT_ONCE: Final = 8
"""Calls of Service Manager side by side, and objects for which one look at the cluster is made."""
SETTLE: Final = 60.0
"""Seconds that deletions which Service Manager does later are waited for; the next round finds the others."""
ENOUGH: Final = 3
"""Calls in a row without a usable answer after which a round ends."""
NO_PROOF: Final = (
    "Service Manager does not have it, nor anything else of this cluster: "
    "do the credentials belong to the cluster's subaccount?"
)
NO_CONSENT: Final = "Secret sap-btp-reclaim, which is the consent, was removed or changed meanwhile"

Candidate = tuple[Entry, SapObject]


class ReclaimRound:
    """One round. `stored` is told of outcomes once the report says them, `say` how far it is.

    `wanted` tells, before each batch, whether a person still wants anything to be deleted.
    """

    def __init__(
        self,
        kube: Kube,
        sap: ServiceManager,
        *,
        cr: str,
        cluster_digest: str,
        proven: bool,
        only_show: bool,
        wanted: Callable[[], Awaitable[bool]],
        say: Callable[[str], None],
        stored: Callable[[list[Told]], Awaitable[None]],
    ) -> None:
        self._kube = kube
        self._sap = sap
        self._report = ReclaimReport(kube)
        self._cr = cr
        self._digest = cluster_digest
        self._proven = proven
        self._only_show = only_show
        self._wanted = wanted
        self._say = say
        self._outcomes = ReclaimOutcomes(None if only_show else self._report, stored)
        self._absent: list[Entry] = []
        self._pending: dict[Entry, tuple[str, str]] = {}
        self._bound: dict[str, str] = {}
        self._away = 0
        self._stop = False
        self._retry_after = 0.0

    async def run(self, seconds: float) -> Round:
        """Go through the report, for about so long.

        Raises:
            KubeError: the API server does not answer, so nobody knows whether anything may be deleted.
        """
        until = time.monotonic() + seconds
        await self._report.load()
        entries = [entry for entry in self._report.entries() if self._cr in ("", entry.cr)]
        try:
            for kind in (Kind.BINDING, Kind.INSTANCE):
                for batch in _batches(sorted((e for e in entries if e.kind is kind), key=_place)):
                    if self._stop or time.monotonic() > until:
                        break
                    await self._batch(batch)
                    self._say(f"{len(self._outcomes)} of {len(entries)} objects looked at")
                    await self._outcomes.store_if_due()
                await self._settle(min(until, time.monotonic() + SETTLE))
            self._decide_absent()
        finally:
            await self._outcomes.store()
        return self._result(entries, time.monotonic() > until)

    async def _batch(self, batch: list[Entry]) -> None:
        candidates = [each for each in await asyncio.gather(*map(self._candidate, batch)) if each]
        if not candidates or self._stop:
            return
        try:
            await self._sap.ready()
        except ServiceManagerError as error:
            for entry, _ in candidates:
                self._failed(entry, error)
            return
        living, _, wanted = await asyncio.gather(
            look_at_living_objects(self._kube), self._report.refresh(), self._wanted()
        )
        if not wanted:
            self._stop = True  # the next round goes by what is there then
            for entry, _ in candidates:
                self._outcomes.note(entry, (Outcome.WAITING, NO_CONSENT))
            return
        named = self._report.entries()
        await asyncio.gather(*(self._decide(*candidate, living) for candidate in candidates if candidate[0] in named))

    async def _candidate(self, entry: Entry) -> Candidate | None:
        """The object in SAP BTP that the line means, if nothing that is known so far stands against deleting it."""
        if verdict := why_not_asked(entry, by_a_person=not self._cr):
            self._outcomes.note(entry, verdict)
            return None
        try:
            found = await self._find(entry)
        except ServiceManagerError as error:
            self._failed(entry, error)
            return None
        self._away = 0
        if found is None:
            return None
        self._proven = self._proven or found.belongs["cluster"] == {self._digest}
        if verdict := why_not_ours(entry, found, self._digest):
            self._outcomes.note(entry, verdict)
            return None
        return entry, found

    async def _find(self, entry: Entry) -> SapObject | None:
        """By id; where the operand never learned it, by cluster, namespace and name, if just one object has them."""
        if entry.sap_id:
            found = await self._sap.find(entry.kind, entry.sap_id)
            candidates = [found] if found else []
        else:
            known = {other.sap_id for other in self._report.entries()}
            there = await self._sap.search(entry.kind, entry.namespace, entry.name)
            candidates = [
                each for each in there if each.id not in known and not why_not_ours(entry, each, self._digest)
            ]
        if not candidates:
            self._absent.append(entry)
            return None
        if len(candidates) > 1:
            self._outcomes.note(entry, (Outcome.NOT_OURS, f"{len(candidates)} objects have that namespace and name"))
            return None
        return candidates[0]

    async def _decide(self, entry: Entry, found: SapObject, living: LivingObjects) -> None:
        verdict = why_not_abandoned(entry, found.id, living)
        if found.being_deleted and (verdict is None or verdict[0] is Outcome.NOT_OURS):
            # Whoever asked for that: nothing is left to decide, and a namesake in the cluster is not meant.
            self._pending[entry] = found.id, ""
            verdict = Outcome.UNDER_WAY, ""
        if verdict is None and entry.kind is Kind.INSTANCE and (binding := self._bound.get(found.id)):
            verdict = Outcome.WAITING, f"its ServiceBinding {binding} has to go first"
        if verdict is None and self._only_show:
            verdict = Outcome.WOULD_GO, found.last_words
        if verdict is None:
            verdict = await self._delete(entry, found.id, living)
        if verdict:
            self._outcomes.note(entry, verdict)
        goes = LEAVES_THE_REPORT | {Outcome.WOULD_GO}
        if entry.kind is Kind.BINDING and self._outcomes.of(entry) not in goes:
            self._bound[found.instance_id] = f"{entry.namespace}/{entry.name}"

    async def _delete(self, entry: Entry, identity: str, living: LivingObjects) -> Verdict | None:
        try:
            operation = await self._sap.delete(entry.kind, identity, living.is_fresh)
        except NotSent:
            return Outcome.WAITING, "the look at the cluster was too old"
        except ServiceManagerError as error:
            self._failed(entry, error)
            return None
        if operation is None:
            return Outcome.RECLAIMED, ""
        self._pending[entry] = identity, operation
        return Outcome.UNDER_WAY, ""

    async def _settle(self, until: float) -> None:
        """Ask how far the accepted deletions are, with growing pauses, until all are done or the time is over."""
        pause = 0.25
        while self._pending and not self._stop:
            await asyncio.gather(*(self._poll(*each) for each in islice(self._pending.items(), AT_ONCE)))
            if time.monotonic() + pause > until:
                return
            if self._pending:
                self._say(f"{len(self._pending)} deletions are under way")
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, 5.0)

    async def _poll(self, entry: Entry, pending: tuple[str, str]) -> None:
        identity, path = self._pending.pop(entry)
        try:
            if path:
                operation = await self._sap.operation(path)
                done, failure = operation.done, operation.failure
            else:
                found = await self._sap.find(entry.kind, identity)
                done, failure = found is None, found.last_words if found else ""
        except ServiceManagerError as error:
            self._slow_down(error)
            self._pending[entry] = pending
            return
        if done:
            self._bound = {key: name for key, name in self._bound.items() if name != f"{entry.namespace}/{entry.name}"}
            self._outcomes.note(entry, (Outcome.RECLAIMED, ""))
        elif failure:
            self._outcomes.note(entry, (Outcome.REFUSED, failure))
        else:
            self._pending[entry] = pending  # behind the others

    def _failed(self, entry: Entry, error: ServiceManagerError) -> None:
        outcome = Outcome.REFUSED if isinstance(error, ServiceManagerRefused) else Outcome.WAITING
        self._outcomes.note(entry, (outcome, str(error)))
        self._slow_down(error)

    def _slow_down(self, error: ServiceManagerError) -> None:
        """Who asks to be left alone is left alone; who does not answer three times is not asked on and on."""
        self._away = self._away + 1 if isinstance(error, ServiceManagerAway) else 0
        self._retry_after = max(self._retry_after, error.retry_after or 0.0)
        self._stop = self._stop or self._away >= ENOUGH or error.retry_after is not None

    def _decide_absent(self) -> None:
        for entry in self._absent:
            self._outcomes.note(entry, (Outcome.ABSENT, "") if self._proven else (Outcome.NOT_OURS, NO_PROOF))

    def _result(self, entries: list[Entry], late: bool) -> Round:
        unseen = self._outcomes.unseen(entries)
        counts = self._outcomes.counts() + Counter({Outcome.WAITING: unseen})
        return Round(
            counts=dict(counts),
            told=self._outcomes.left(),
            unfinished=bool(late and unseen and not self._stop),
            proven=self._proven,
            retry_after=self._retry_after or None,
        )


def _place(entry: Entry) -> tuple[str, str, str]:
    return entry.namespace, entry.name, entry.sap_id


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    for begin in range(0, len(entries), AT_ONCE):
        yield entries[begin : begin + AT_ONCE]
