"""What goes wrong with the operand, in our own words. The activities' edge turns it into Temporal's failures."""

from datetime import datetime

from kube.errors import Conflict, Expired, KubeError, Stale, Unavailable
from models.conditions import Reason


class Failure(Exception):
    """Something that stands in the way. `str()` is one sentence that names the object."""

    answered: datetime | None = None
    """When the API server last answered whoever failed, by the clock of the Temporal server."""


class Permanent(Failure):
    """No retry helps: somebody has to change something first. `reason` becomes the CR's condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Passing(Failure):
    """It may pass by itself: try again, after `retry_after` seconds if the API server asked for that."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def failure_of(error: KubeError, reason: Reason, message: str) -> Failure:
    """What an API error means: Passing if it may pass by itself, else Permanent under `reason`."""
    if isinstance(error, Unavailable | Conflict | Expired | Stale):
        return Passing(message, error.retry_after)
    return Permanent(reason, message)
