"""The edge between activities and Temporal: who may ask, and what comes out when something goes wrong.

Inside, errors are ours and Kubernetes'. Here, in one place, they become Temporal's failures; what none of them
foresees is a defect: one line in the log and a metric, and nothing of its text in a history, for it may quote a value.
"""

import functools
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import structlog
from prometheus_client import Counter
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError

from dispatch.names import OF_A_RECLAIM, all_workflows, reclaim_id, resyncs, shown_reclaims, workflow_id
from kube.errors import KubeError
from models.mandate import Mandate, Mandated
from models.names import (
    DEFECT,
    DEPROVISION_WORKFLOW,
    MANDATE_LOST,
    OTHER_CLUSTER,
    PROVISION_WORKFLOW,
    RECLAIM_WORKFLOW,
    RESYNC_WORKFLOW,
    SUPERSEDED,
)
from models.reclaim import ReclaimEnd, Scope
from models.resync import ResyncInput
from operand.errors import Passing, Permanent
from operand.installation import Superseded
from operand.mandated import MandateLost, OtherCluster

OTHERS_TURN: Final = timedelta(seconds=2)
"""Before work for another worker, of another cluster or a newer installation, is offered again."""
OF_ONE_TYPE: Final = {
    "assess_deletion": DEPROVISION_WORKFLOW,
    "wait_for_another_count": DEPROVISION_WORKFLOW,
    "restore_operand": DEPROVISION_WORKFLOW,
    "hard_delete_service_objects": DEPROVISION_WORKFLOW,
    "soft_delete_service_objects": DEPROVISION_WORKFLOW,
    "remove_operand": DEPROVISION_WORKFLOW,
    "remove_resources": DEPROVISION_WORKFLOW,
    "check_consent": DEPROVISION_WORKFLOW,
    "reclaim_round": RECLAIM_WORKFLOW,
    "end_reclaim": RECLAIM_WORKFLOW,
    "nudge_operators": RESYNC_WORKFLOW,
}
"""Activities that one type of workflow alone asks for; all others are of both workflows of a CR."""
OF_A_CR: Final = (PROVISION_WORKFLOW, DEPROVISION_WORKFLOW)
DEFECTS: Final = Counter("btp_activity_defects", "Activities that failed by a defect of this program", ("activity",))
log = structlog.get_logger(__name__)
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def checked(method: F) -> F:
    """For every activity method: its input is for this cluster and for the workflow that asks; errors are translated.

    The method's object has its client in `_kube`, and its input a `cluster`.
    """

    @functools.wraps(method)
    async def run(self: Any, input: Any) -> Any:
        try:
            _check_caller(method.__name__, input)
            await self._kube.reach()  # a worker that is cut off hands its work on, instead of trying it for long
            if input.cluster != await self._kube.cluster_uid():
                raise OtherCluster(f"this worker serves cluster {await self._kube.cluster_uid()}, not {input.cluster}")
            return await method(self, input)
        except FailureError:
            raise
        except Exception as error:
            raise _failure(error) from None  # a chained error would travel to Temporal with its text

    return cast(F, run)


@dataclass(frozen=True)
class _Own:
    """Under which id a workflow may ask: `begins`, and nothing behind it unless there is a place for a part."""

    begins: str
    a_part: bool = False
    ends: str = ""

    def __str__(self) -> str:
        return f"{self.begins}{'...' if self.a_part else ''}{self.ends}"

    def is_that_of(self, identity: str) -> bool:
        if not self.a_part:
            return identity == self.begins
        longer = len(identity) > len(self.begins) + len(self.ends)
        return longer and identity.startswith(self.begins) and identity.endswith(self.ends)


def _own(input: Any, queue: str) -> list[_Own]:
    """The workflows to which this input belongs. They are bound to it by their ids, as their mandates are."""
    match input:
        case Mandate() as mandate:
            return [_Own(workflow_id(mandate, queue))]
        case Mandated(mandate=mandate):
            return [_Own(workflow_id(mandate, queue))]
        case Scope(only_show=True):
            return [_Own(shown_reclaims(queue), a_part=True)]
        case Scope(cluster=cluster, ref=ref):
            return [_Own(reclaim_id(queue, Mandate(cluster=cluster, ref=ref) if ref else None))]
        case ReclaimEnd(cluster=cluster):  # an Event, and none of a CR
            return [_Own(reclaim_id(queue)), _Own(all_workflows(cluster, queue), a_part=True, ends=OF_A_RECLAIM)]
        case ResyncInput():
            return [_Own(resyncs(queue), a_part=True)]
    return []


def _check_caller(name: str, input: Any) -> None:
    """Only the input's own workflow asks for it: an activity can be scheduled by whoever reaches Temporal."""
    info = activity.info()
    types = (OF_ONE_TYPE[name],) if name in OF_ONE_TYPE else OF_A_CR
    own = _own(input, info.task_queue)
    if info.workflow_type not in types or not any(each.is_that_of(info.workflow_id or "") for each in own):
        mandate = input if isinstance(input, Mandate) else input.mandate if isinstance(input, Mandated) else None
        what = f"{name} for BtpOperator {mandate.ref}" if mandate else name
        whose = " or ".join(map(str, own)) or "of no id"
        message = f"{what} belongs to workflow {whose} of type {' or '.join(types)}"
        raise ApplicationError(message, type="Refused", non_retryable=True)


def _failure(error: Exception) -> ApplicationError:
    if isinstance(error, MandateLost):
        category = ApplicationErrorCategory.BENIGN
        return ApplicationError(str(error), error.removed, type=MANDATE_LOST, non_retryable=True, category=category)
    if isinstance(error, OtherCluster):
        return ApplicationError(str(error), type=OTHER_CLUSTER, next_retry_delay=OTHERS_TURN)
    if isinstance(error, Superseded):
        return ApplicationError(str(error), type=SUPERSEDED, next_retry_delay=OTHERS_TURN)
    if isinstance(error, Permanent):
        return ApplicationError(str(error), type=error.reason.value, non_retryable=True)
    if isinstance(error, Passing | KubeError):
        delay = timedelta(seconds=error.retry_after) if error.retry_after else None
        return ApplicationError(str(error), error.answered, type=type(error).__name__, next_retry_delay=delay)
    return _defect(error)


def _defect(error: Exception) -> ApplicationError:
    """The text of the error stays out of it, for it may quote anything: where it happened is enough to find it."""
    name = activity.info().activity_type
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    where = [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}" for frame in frames]
    DEFECTS.labels(name).inc()
    log.error("a defect of this program", activity=name, error=type(error).__name__, where=where)
    place = where[-1] if where else "an unknown place"
    return ApplicationError(f"a defect of this program: {type(error).__name__} at {place}, in {name}", type=DEFECT)
