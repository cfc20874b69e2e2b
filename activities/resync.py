"""The backstop: what a lost trigger would have said."""

from temporalio import activity

from activities.edge import checked
from dispatch.nudger import Nudger
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from models.operators import Operator
from models.resync import ResyncInput, ResyncResult


class ResyncActivities:
    """Nudges every CR, as the trigger does on a change."""

    def __init__(self, kube: Kube, task_queue: str, listed: bool) -> None:
        self._kube = kube
        self._task_queue = task_queue
        self._listed = listed

    @activity.defn
    @checked
    async def nudge_operators(self, input: ResyncInput) -> ResyncResult:
        """Nudge every BtpOperator of the cluster."""
        # The worker's client of now: it is another one after a certificate was renewed.
        nudger = Nudger(
            activity.client(), self._task_queue, input.cluster, input.limits, input.operand_teardown, self._listed
        )
        nudged = 0
        async for page, _ in self._kube.pages(BTP_OPERATORS):
            for obj in page:
                operator = Operator.from_object(obj)
                await nudger.nudge(operator.ref, operator.deleting)
                nudged += 1
                activity.heartbeat(nudged)
        return ResyncResult(nudged=nudged)
