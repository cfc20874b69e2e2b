"""What many who ask cost, and that each is told what was so after it had asked."""

import asyncio
import time

from kube.shared_look import SharedLook

TAKES = 0.05


async def test_looks_that_are_asked_for_without_end_take_half_of_the_time_at_most() -> None:
    moments: list[float] = []

    async def read() -> float:
        moments.append(began := time.monotonic())
        await asyncio.sleep(TAKES)
        return began

    shared = SharedLook(read)

    async def ask() -> None:
        asked = time.monotonic()
        assert await shared.look() >= asked

    began, asking = time.monotonic(), list[asyncio.Task[None]]()
    while time.monotonic() < began + 20 * TAKES:
        asking.append(asyncio.create_task(ask()))
        await asyncio.sleep(TAKES / 10)
    await asyncio.gather(*asking)
    took = time.monotonic() - began
    assert moments[0] - began < TAKES, "whoever asks alone does not wait"
    assert 3 < len(moments) <= took / TAKES / 2 + 1, (len(moments), took)
