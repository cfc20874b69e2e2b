"""One answer for all who ask at the same time: what is slow to read is not read once for each of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LONGEST_REST: Final = 1.0
"""Seconds."""


class SharedLook(Generic[T]):
    """Reads one thing. Of many who ask at the same time, those that wait share one answer.

    Each is told what was so after it had asked, so it may decide as if it were alone. Reading rests for as long as it
    took, if that was short: those who ask one after another share answers too, and it takes half of the time at most.
    """

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._begun = self._answered = 0
        self._found: list[T] = []
        self._rests_until = 0.0

    async def look(self) -> T:
        """Raises what reading raises."""
        wanted = self._begun + 1  # the first look that begins from now on
        async with self._turn:
            if self._answered < wanted:
                await asyncio.sleep(self._rests_until - time.monotonic())
                self._begun, began = self._begun + 1, time.monotonic()
                number = self._begun
                self._found = [await self._read()]
                ended = time.monotonic()
                self._rests_until = ended + min(ended - began, LONGEST_REST)
                self._answered = number
            return self._found[0]
