"""The names under which Temporal knows a cluster and a CR."""

from models.mandate import Mandate
from models.names import RESYNC_SCHEDULE


def default_task_queue(cluster: str) -> str:
    """A task queue that no other cluster has: `cluster` is the uid of Namespace kube-system."""
    return f"btp-manager-{cluster}"


def workflow_id(mandate: Mandate, task_queue: str) -> str:
    """One id for a CR's whole life. Temporal allows one open workflow with it: that is the lock.

    A task queue that somebody named prefixes the id, so that people find the workflows of one cluster of a fleet.
    """
    ref = mandate.ref
    prefix = "" if task_queue == default_task_queue(mandate.cluster) else f"{task_queue}/"
    return f"{prefix}btpoperator/{ref.namespace}/{ref.name}/{ref.uid}"


def schedule_id(task_queue: str) -> str:
    """The Schedule of a task queue; whose cluster it is stands in its memo. The default queue has the cluster's uid."""
    return f"{RESYNC_SCHEDULE}/{task_queue}"
