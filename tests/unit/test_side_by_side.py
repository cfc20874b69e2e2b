"""What is done for many, a few at a time."""

import asyncio

import pytest

from kube.side_by_side import side_by_side


async def test_results_come_in_the_order_of_the_items_and_never_more_than_so_many_are_under_way() -> None:
    under_way, most = 0, 0

    async def do(item: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (10 - item))
        under_way -= 1
        return item * 2

    assert await side_by_side(do, range(10), at_once=3) == [item * 2 for item in range(10)]
    assert most == 3


async def test_after_an_error_nothing_more_is_begun_and_what_is_under_way_comes_to_its_end() -> None:
    begun: list[int] = []
    ended: list[int] = []

    async def do(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError(f"{item} failed")
        await asyncio.sleep(0.01)
        ended.append(item)

    with pytest.raises(ValueError, match="1 failed"):
        await side_by_side(do, range(10), at_once=2)
    assert (begun, ended) == ([0, 1], [0])


async def test_a_cancellation_ends_all_of_it() -> None:
    begun: list[int] = []

    async def do(item: int) -> None:
        begun.append(item)
        await asyncio.sleep(60)

    working = asyncio.create_task(side_by_side(do, range(10), at_once=2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert begun == [0, 1]
