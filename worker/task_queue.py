"""Who takes work from the task queue: whoever polls it gets it, whether it is a worker of ours or not."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client import Gauge
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from models.text import plain
from runtime.identity import Identity

RECENT: Final = timedelta(seconds=90)
"""A living worker asks at least once a minute."""
POLLERS: Final = Gauge(
    "btp_task_queue_pollers",
    "Processes that asked the task queue for work lately, workers of ours too",
)


async def workers(client: Client, task_queue: str) -> list[str]:
    """The identities of those that asked for work lately, of workflows or of activities: either is enough to do harm.

    An identity is a claim: whoever polls under a worker's name is not told apart from it.

    Raises:
        RPCError: Temporal does not say.
    """
    since = datetime.now(UTC) - RECENT
    found: set[str] = set()
    for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
        answer: Any = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
            )
        )
        recent = (each for each in answer.pollers if each.last_access_time.ToDatetime(tzinfo=UTC) > since)
        found |= {plain(each.identity, 100) for each in recent}
    return sorted(found)


async def count_pollers(here: Identity, client: Client) -> None:
    """Put their number on the page of metrics: more than workers of ours are there means that a stranger works here.

    Raises:
        RPCError: Temporal is away.
    """
    POLLERS.set(len(await workers(client, here.task_queue)))
