"""What became of the report's lines in one round: kept until the report says it, and only then told to others."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from models.reclaim import LEAVES_THE_REPORT, MAX_TOLD, Outcome, Told
from models.text import plain
from operand.reclaim_report import Entry, ReclaimReport
from operand.reclaim_rules import Verdict

STORE_EVERY: Final = 2.0
"""Seconds: a report may have hundreds of kilobytes."""


class ReclaimOutcomes:
    """Those of one round. `stored` is told of them once the report says them; without a report none is stored."""

    def __init__(self, report: ReclaimReport | None, stored: Callable[[list[Told]], Awaitable[None]]) -> None:
        self._report = report
        self._stored = stored
        self._all: dict[Entry, Told] = {}
        self._unstored: dict[Entry, Told] = {}
        self._stored_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._all)

    def note(self, entry: Entry, verdict: Verdict) -> None:
        """The last one of an entry counts."""
        told = entry.told(outcome=verdict[0], why=plain(verdict[1]))
        self._all[entry] = self._unstored[entry] = told

    def of(self, entry: Entry) -> Outcome | None:
        told = self._all.get(entry)
        return told.outcome if told else None

    def unseen(self, entries: Iterable[Entry]) -> int:
        """Of how many of these nothing is known."""
        return sum(entry not in self._all for entry in entries)

    def counts(self) -> Counter[Outcome]:
        return Counter(told.outcome for told in self._all.values())

    def left(self) -> list[Told]:
        """What stays in the report, and why; of much only the first."""
        return [told for told in self._all.values() if told.outcome not in LEAVES_THE_REPORT][:MAX_TOLD]

    async def store_if_due(self) -> None:
        if time.monotonic() - self._stored_at > STORE_EVERY:
            await self.store()

    async def store(self) -> None:
        """Have the report say what is new.

        Raises:
            KubeError: it cannot be written.
        """
        if self._report is None:
            return
        outcomes, self._unstored = self._unstored, {}
        if outcomes:
            await self._report.store(outcomes)
            await self._stored(list(outcomes.values()))
        else:
            await self._report.tidy()
        self._stored_at = time.monotonic()
