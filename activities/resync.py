"""The backstop: what a lost trigger would have said."""

from typing import Final

from prometheus_client import Gauge
from temporalio import activity
from temporalio.service import RPCError

from activities.edge import checked
from dispatch.nudger import Nudger
from kube.client import Kube
from models.conditions import ready_condition
from models.operators import responsible
from models.resync import ResyncInput, ResyncResult
from models.spares import is_settled_spare
from models.text import plain, some
from operand.errors import Passing
from operand.operators import Operators

LAST_SUCCESS: Final = Gauge(
    "btp_resync_last_success_timestamp_seconds", "When this worker last carried out a resync; its start counts as one"
)
LAST_SUCCESS.set_to_current_time()


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

        A CR that cannot be nudged does not keep the others from it.

        Raises:
            ApplicationError: some could not be nudged, or something else runs under their id; the next attempt tries
                all again.
        """
        # The worker's client of now: it is another one after a certificate was renewed.
        nudger = Nudger(
            client=activity.client(),
            task_queue=self._task_queue,
            cluster=input.cluster,
            limits=input.limits,
            operand_teardown=input.operand_teardown,
            listed=self._listed,
            deletion=input.deletion,
        )
        operators = await Operators(self._kube).look()
        oldest = responsible(operators)
        nudged, failed = 0, dict[str, str]()
        for operator in operators:
            if oldest and is_settled_spare(operator, ready_condition(operator.status), oldest):
                continue
            try:
                await nudger.nudge(operator.ref, operator.deleting)
                if squatter := await nudger.squatter(operator.ref):
                    failed[str(operator.ref)] = squatter
                    continue
                nudged += 1
            except RPCError as error:
                failed[str(operator.ref)] = plain(error.message)
            activity.heartbeat(nudged)
        if failed:
            named = some([f"{name}: {why}" for name, why in failed.items()], longest=300)
            raise Passing(f"{len(failed)} of {nudged + len(failed)} CRs could not be nudged: {'; '.join(named)}")
        LAST_SUCCESS.set_to_current_time()
        return ResyncResult(nudged=nudged)
