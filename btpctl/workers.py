"""Who serves a task queue, in words for people."""

from temporalio.client import Client
from temporalio.service import RPCError

from btpctl.connections import Ends
from btpctl.errors import CommandError, NoAnswer, answered
from models.text import plain, some
from worker.task_queue import pollers


async def workers(client: Client, task_queue: str) -> list[str]:
    """The identities of those that asked for work lately.

    Raises:
        RPCError: Temporal does not say.
    """
    return sorted({plain(identity, 100) for identity in await pollers(client, task_queue)})


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
