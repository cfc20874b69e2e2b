"""The backstop: what a lost trigger would have said."""

from temporalio import activity

from activities.edge import checked
from activities.responsibility import older_exists
from dispatch.nudger import Nudger
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from models.conditions import ready_condition
from models.operators import Operator, responsible
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
        """Nudge every BtpOperator of the cluster, apart from spares that say which one is responsible.

        Each look reads all CRs, so a look at each of many spares would cost a square of their number, for nothing.
        """
        # The worker's client of now: it is another one after a certificate was renewed.
        nudger = Nudger(
            activity.client(), self._task_queue, input.cluster, input.limits, input.operand_teardown, self._listed
        )
        operators = [Operator.from_object(obj) async for page, _ in self._kube.pages(BTP_OPERATORS) for obj in page]
        oldest = responsible(operators)
        nudged = 0
        for operator in operators:
            if oldest and _is_settled_spare(operator, oldest):
                continue
            await nudger.nudge(operator.ref, operator.deleting)
            nudged += 1
            activity.heartbeat(nudged)
        return ResyncResult(nudged=nudged)


def _is_settled_spare(operator: Operator, oldest: Operator) -> bool:
    """Whether a look at this CR would change nothing: it waits, holds nothing, and says for whom."""
    if operator == oldest or operator.deleting or operator.holds_finalizer:
        return False
    condition, finding = ready_condition(operator.status), older_exists(oldest)
    return (condition.get("reason"), condition.get("message")) == (finding.reason, finding.message)
