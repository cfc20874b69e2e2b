"""The names under which Temporal knows a cluster and a CR."""

from typing import Final

from models.mandate import Mandate
from models.names import RESYNC_SCHEDULE

OF_A_RECLAIM: Final = "/reclaim"
"""How the id of a reclaim ends that a deletion has started; the rest is the deletion's own."""


def default_task_queue(cluster: str) -> str:
    """A task queue that no other cluster has: `cluster` is the uid of Namespace kube-system."""
    return f"btp-manager-{cluster}"


def workflow_id(mandate: Mandate, task_queue: str) -> str:
    """One id for a CR's whole life. Temporal allows one open workflow with it: that is the lock.

    A task queue that somebody named prefixes the id, so that people find the workflows of one cluster of a fleet.
    """
    ref = mandate.ref
    return f"{all_workflows(mandate.cluster, task_queue)}{ref.namespace}/{ref.name}/{ref.uid}"


def all_workflows(cluster: str, task_queue: str) -> str:
    """How the ids of the workflows of all CRs of a cluster begin."""
    prefix = "" if task_queue == default_task_queue(cluster) else f"{task_queue}/"
    return f"{prefix}btpoperator/"


def reclaim_id(task_queue: str, mandate: Mandate | None = None) -> str:
    """The reclaim of what a CR's deletion has abandoned; without a mandate of all that is reported: a person's."""
    return f"{workflow_id(mandate, task_queue)}{OF_A_RECLAIM}" if mandate else f"{task_queue}/reclaim/all"


def shown_reclaims(task_queue: str) -> str:
    """How the ids of reclaims begin that only show a person what would go."""
    return f"{task_queue}/reclaim/shown-"


def schedule_id(task_queue: str) -> str:
    """The Schedule of a task queue; whose cluster it is stands in its memo. The default queue has the cluster's uid."""
    return f"{RESYNC_SCHEDULE}/{task_queue}"


def resyncs(task_queue: str) -> str:
    """How the ids of resyncs begin: Temporal puts the time of each behind the id that the Schedule names."""
    return f"{schedule_id(task_queue)}-"
