"""Who serves a task queue: whoever asked it for work lately. Temporal names pollers for minutes after they died."""

from temporalio.service import RPCError

from btpctl.connections import Ends
from btpctl.errors import CommandError, NoAnswer, answered
from models.text import some
from worker.task_queue import workers


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
