"""Waits until no other manager runs in the cluster, or the CR that waits for it is not as it was."""

import asyncio
from typing import Final

from temporalio import activity

from activities.edge import checked
from activities.progress import heartbeating
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from models.operators import Operator, OperatorRef
from models.provision import ChartInput
from operand.other_manager import other_manager

LOOK_EVERY: Final = 2.0
"""Seconds between looks: three small requests each."""
ATTEMPT: Final = 50.0
"""Seconds after which an attempt ends and the next one follows."""


class OtherManagerActivities:
    """Looks, and changes nothing."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def wait_until_alone(self, input: ChartInput) -> None:
        """Return as soon as the Go manager does not run, or the CR asks for something else, or for nothing."""
        async with heartbeating() as progress:
            before = await self._asks(input.ref)
            for _ in range(int(ATTEMPT / LOOK_EVERY)):
                seen = await other_manager(self._kube)
                progress.got_answer()
                if not seen or await self._asks(input.ref) != before:
                    return
                progress.say(seen)
                await asyncio.sleep(LOOK_EVERY)
            raise progress.still_waiting(progress.text, pause=0.1)

    async def _asks(self, ref: OperatorRef) -> tuple[bool, bool] | None:
        """Whether the CR is being deleted, and holds our finalizer; None if it is gone."""
        obj = await self._kube.find(BTP_OPERATORS, ref.name, ref.namespace, metadata_only=True)
        if obj is None or obj["metadata"]["uid"] != ref.uid:
            return None
        operator = Operator.from_object(obj)
        return operator.deleting, operator.holds_finalizer
