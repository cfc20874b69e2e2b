"""Durations as people write them in settings: `90s`, `20m`, `1h30m`."""

import re
from datetime import timedelta
from typing import Final

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `90s`, `20m` or `1h30m`.

    Raises:
        ValueError: the text is not a positive duration in that form.
    """
    parts = _PART.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f"{text!r} is not a duration such as 90s, 20m or 1h30m")
    total = sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
    if total <= timedelta():
        raise ValueError(f"{text!r} must be longer than nothing")
    return total


def show_duration(duration: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, to the second (below one second: to the millisecond)."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    shown = "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minute, "m"), (second, "s")) if n)
    return shown or "0s"
