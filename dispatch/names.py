"""The names under which Temporal knows a cluster and a CR."""

from typing import Final

from models.operators import OperatorRef

DEFAULT_TASK_QUEUE: Final = "btp-manager"


def workflow_id(ref: OperatorRef, task_queue: str) -> str:
    """One id for a CR's whole life. Temporal allows one open workflow with it: that is the lock.

    A task queue of another name belongs to another cluster of a fleet, and prefixes the id.
    """
    prefix = "" if task_queue == DEFAULT_TASK_QUEUE else f"{task_queue}/"
    return f"{prefix}btpoperator/{ref.namespace}/{ref.name}/{ref.uid}"
