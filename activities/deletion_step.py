"""What the steps of a deletion share that have no budget: heartbeats, the mandate, and news for the CR."""

import contextlib
from collections.abc import AsyncIterator

from activities.progress import Progress, heartbeating
from kube.client import Kube
from models.deprovision import TeardownInput
from models.mandate import Purpose
from operand.mandated import MandatedKube, holding


@contextlib.asynccontextmanager
async def deletion_step(kube: Kube, input: TeardownInput) -> AsyncIterator[tuple[Progress, MandatedKube]]:
    """Do something for as long as the CR asks for its deletion. What is refused for a while, the CR has to say."""
    async with (
        heartbeating(input.removed, input.told) as progress,
        holding(kube, input.mandate, Purpose.DELETE) as held,
    ):
        progress.got_answer()
        yield progress, held
