"""Waits until no other manager runs in the cluster."""

import asyncio
from typing import Final

from temporalio import activity

from activities.edge import checked
from activities.progress import heartbeating
from kube.client import Kube
from models.provision import ChartInput
from operand.other_manager import other_manager

LOOK_EVERY: Final = 2.0
"""Seconds between looks: two small requests each."""
ATTEMPT: Final = 50.0
"""Seconds after which an attempt ends and the next one follows."""


class OtherManagerActivities:
    """Looks, and changes nothing."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def wait_until_alone(self, input: ChartInput) -> None:
        """Return as soon as the Go manager does not run."""
        async with heartbeating() as progress:
            for _ in range(int(ATTEMPT / LOOK_EVERY)):
                seen = await other_manager(self._kube)
                progress.got_answer()
                if not seen:
                    return
                progress.say(seen)
                await asyncio.sleep(LOOK_EVERY)
            raise progress.still_waiting(progress.text, pause=0.1)
