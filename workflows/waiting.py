"""Waits for a while until something is so, and can be stopped at any moment."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow


async def until(condition: Callable[[], bool], within: timedelta) -> bool:
    """Whether the condition holds before so much time has passed.

    Instead of `wait_condition` with a timeout, which goes through asyncio.wait_for: on Python 3.11 that one swallows a
    cancellation in the moment in which the condition holds (python/cpython#86296). A deletion that was requested just
    then would not stop what runs, and the same history would go on differently on another Python.
    """
    is_over = False

    def end() -> None:
        nonlocal is_over
        is_over = True

    if within <= timedelta():
        return condition()
    timer = asyncio.get_running_loop().call_later(within.total_seconds(), end)
    try:
        await workflow.wait_condition(lambda: is_over or condition())
    finally:
        timer.cancel()
    return condition()
