"""BtpOperators as large as somebody may write them, in the hands of a worker: looked at a page at a time."""

import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from kube.client import Kube
from models.mandate import Mandate, Purpose
from operand.mandated import MandatedKube
from operand.operators import Operators
from tests.cluster import ensure_namespace
from tests.foreign import create_large_operators

MANY = 40


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_look_at_large_btpoperators_takes_no_more_memory_than_a_page_of_them(
    kube: Kube, worker: Kube, mandate: Mandate
) -> None:
    await ensure_namespace(kube, "team-z")
    await create_large_operators(kube, "team-z", MANY)

    async def peak(look: Callable[[], Awaitable[object]]) -> int:
        tracemalloc.start()
        try:
            await look()
            return tracemalloc.get_traced_memory()[1] // 2**20
        finally:
            tracemalloc.stop()

    looks = {"assess": Operators(worker).look, "mandate": MandatedKube(worker, mandate, Purpose.PROVISION).look}
    peaks = {what: await peak(look) for what, look in looks.items()}
    print(f"{peaks} MiB for {MANY} BtpOperators of 0.6 MB")
    assert max(peaks.values()) < 12, peaks
    assert len(await Operators(worker).look()) == MANY + 1
