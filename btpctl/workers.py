"""Who serves a task queue: whoever asked it for work lately. Temporal names pollers for minutes after they died."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from btpctl.connections import Ends
from btpctl.errors import CommandError, NoAnswer, answered
from models.text import plain, some

RECENT: Final = timedelta(seconds=90)
"""A living worker asks at least once a minute."""


async def workers(client: Client, task_queue: str) -> list[str]:
    """The identities of those that asked for work lately.

    Raises:
        RPCError: Temporal does not say.
    """
    answer: Any = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    since = datetime.now(UTC) - RECENT
    return sorted(
        {plain(each.identity, 100) for each in answer.pollers if each.last_access_time.ToDatetime(tzinfo=UTC) > since}
    )


async def unanswered(ends: Ends, seconds: float) -> NoAnswer:
    """Why no worker answered within so many seconds, as an error to raise."""
    queue = ends.cluster.identity.task_queue
    try:
        alive = await answered(workers(ends.temporal, queue), "Temporal", seconds)
    except (CommandError, RPCError) as error:
        return NoAnswer(f"no worker answered within {seconds:g} s, and Temporal does not say whether one runs: {error}")
    if not alive:
        return NoAnswer(f"no worker runs on task queue {queue}: nothing is done until one does; see its pod's log")
    names = ", ".join(some(alive))
    return NoAnswer(f"no worker answered within {seconds:g} s; these asked for work lately: {names}; see their logs")
