"""Does things side by side: the same for many, a few at a time, or one thing while another is done."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

AT_ONCE: Final = 8
"""Requests side by side, unless somebody has a reason for another number."""
S = TypeVar("S")
T = TypeVar("T")


async def side_by_side(do: Callable[[S], Awaitable[T]], items: Iterable[S], at_once: int = AT_ONCE) -> list[T]:
    """The results, in the order of the items.

    After an error nothing more is begun. What is under way comes to its end, and then the first error is raised.
    """
    room = asyncio.Semaphore(at_once)
    errors: list[Exception] = []

    async def one(item: S) -> list[T]:
        async with room:
            if errors:
                return []
            try:
                return [await do(item)]
            except Exception as error:
                errors.append(error)
                return []

    results = await asyncio.gather(*(one(item) for item in items))
    if errors:
        raise errors[0]
    return [result for found in results for result in found]


@contextlib.asynccontextmanager
async def meanwhile(doing: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Begin something that the block awaits when it needs the result. However the block ends, it has ended then too."""
    task = asyncio.create_task(doing)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
