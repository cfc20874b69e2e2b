"""What goes wrong with the operand, in our own words. The activities' edge turns it into Temporal's failures."""

from models.conditions import Reason


class Failure(Exception):
    """Something that becomes the CR's condition. `str()` is one sentence that names the object."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Permanent(Failure):
    """No retry helps: somebody has to change something first."""
