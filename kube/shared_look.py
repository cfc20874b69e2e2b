"""One answer for all who ask at the same time: what is slow to read is not read once for each of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Reads one thing. Of many who ask at the same time, those that wait share one answer.

    Each is told what was so after it had asked, so it may decide as if it were alone.
    """

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._turn = asyncio.Lock()
        self._begun = self._answered = 0
        self._found: list[T] = []

    async def look(self) -> T:
        """Raises what reading raises."""
        wanted = self._begun + 1  # the first look that begins from now on
        async with self._turn:
            if self._answered < wanted:
                self._begun = number = self._begun + 1
                self._found = [await self._read()]
                self._answered = number
            return self._found[0]
