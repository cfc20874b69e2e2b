"""Who takes work from the task queue: whoever polls it gets it, whether it is a worker of ours or not."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from prometheus_client import Gauge
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from runtime.identity import Identity

RECENT: Final = timedelta(seconds=90)
"""A living worker asks at least once a minute; Temporal names pollers for minutes after they died."""
POLLERS: Final = Gauge(
    "btp_task_queue_pollers", "Processes that asked for workflow tasks of the task queue lately, ours included"
)


async def pollers(client: Client, task_queue: str) -> set[str]:
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
    return {each.identity for each in answer.pollers if each.last_access_time.ToDatetime(tzinfo=UTC) > since}


async def count_pollers(here: Identity, client: Client) -> None:
    """Put their number on the page of metrics: more than workers of ours are there means that a stranger works here.

    Raises:
        RPCError: Temporal does not say.
    """
    POLLERS.set(len(await pollers(client, here.task_queue)))
