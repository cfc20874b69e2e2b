"""Durations as people write them in settings: `90s`, `20m`, `1h30m`."""

import re
from datetime import timedelta
from typing import Final

from durationpy import DurationError, from_str, to_str

_FORM: Final = re.compile(r"(\d+(\.\d+)?(ms|[dhms]))+")
"""Narrower than what `from_str` reads: it skips what stands between two parts, and takes `mm` for months."""


def parse_duration(text: str) -> timedelta:
    """Read a duration such as `90s`, `20m` or `1h30m`; the units are `d`, `h`, `m`, `s` and `ms`.

    Raises:
        ValueError: the text is not a positive duration in that form.
    """
    text = text.strip()
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 90s, 20m or 1h30m")
    try:
        duration = from_str(text)
    except DurationError as error:
        raise ValueError(f"{text!r} is longer than any duration") from error
    if duration <= timedelta():
        raise ValueError(f"{text!r} must be longer than nothing")
    return duration


def show_duration(duration: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, to the second (below one second: to the millisecond)."""
    seconds = duration.total_seconds()
    shown = to_str(timedelta(seconds=round(seconds) if seconds >= 1 else round(seconds, 3)))
    return "0s" if shown == "0" else shown
