"""Who takes work from the task queue: whoever polls it gets it, whether it is a worker of ours or not."""

from typing import Any, Final

from prometheus_client import Gauge
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from runtime.identity import Identity

POLLERS: Final = Gauge(
    "btp_task_queue_pollers",
    "Processes that polled the task queue for workflow tasks in the last minutes, ours too",
)


async def pollers(client: Client, task_queue: str) -> set[str]:
    """The identities of those who polled in the last minutes, as the server remembers them."""
    answer: Any = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    return {poller.identity for poller in answer.pollers}


async def count_pollers(here: Identity, client: Client) -> None:
    """Put their number on the page of metrics: more than workers of ours are there means that a stranger works here.

    Raises:
        RPCError: Temporal is away.
    """
    POLLERS.set(len(await pollers(client, here.task_queue)))
