"""One thing that the doctor has looked at, and how people see it."""

from dataclasses import dataclass

from rich.text import Text

from btpctl import show


@dataclass(frozen=True)
class Check:
    """One thing that has to be so."""

    name: str
    ok: bool
    detail: str
    warns: bool = False
    """It works, and somebody should know what it means."""


def shown(check: Check) -> show.Block:
    """A check for people."""
    verdict, style = ("no", "red") if not check.ok else ("!!", "yellow") if check.warns else ("ok", "green")
    return show.Block(Text.assemble((f"{verdict}  ", style), check.name), [("", check.detail)])
