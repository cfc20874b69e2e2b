"""How long to wait before something is tried again, in seconds: growing to a limit, and never in step with others."""

import random
from typing import Final

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0


def pause_after(failures: int) -> float:
    """The pause after so many failures in a row."""
    return jittered(min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE))  # hours of them must not overflow


def jittered(pause: float) -> float:
    """Between half of a pause and the whole of it."""
    return random.uniform(pause / 2, pause)
