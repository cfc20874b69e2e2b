"""Waits until a deletion that must not take service objects along may go on."""

import asyncio
import contextlib
from typing import Final

from temporalio import activity

from activities.edge import checked
from activities.progress import heartbeating
from kube.client import Kube
from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.deprovision import ConfirmationInput, Remaining
from models.mandate import Purpose
from operand.mandated import holding
from operand.service_objects import first_few

LOOK_EVERY: Final = 10.0
"""Seconds between counts: this may take months. A label on the CR has its workflow look at once."""
ATTEMPT: Final = 60.0
"""Seconds after which an attempt ends and the next one follows."""


class ConfirmationActivities:
    """Looks, and changes nothing."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def wait_for_another_count(self, input: ConfirmationInput) -> Remaining:
        """Return how many service objects there are, as soon as it is not what the CR says."""
        async with heartbeating() as progress, holding(self._kube, input.mandate, Purpose.DELETE):
            progress.got_answer()
            with contextlib.suppress(TimeoutError):  # a slow API server, or a frozen process
                async with asyncio.timeout(ATTEMPT + LOOK_EVERY):
                    for _ in range(int(ATTEMPT / LOOK_EVERY)):
                        left = Remaining(
                            bindings=await self._count(SERVICE_BINDINGS), instances=await self._count(SERVICE_INSTANCES)
                        )
                        if (left.bindings, left.instances) != (input.bindings, input.instances):
                            return left
                        progress.say(str(left))
                        await asyncio.sleep(LOOK_EVERY)
            raise progress.still_waiting(progress.text, pause=0.1)

    async def _count(self, resource: Resource) -> int:
        page = await first_few(self._kube, resource, 1)
        return len(page.items) + page.more if page else 0
