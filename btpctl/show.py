"""What people read: one block for each thing, its facts below it. What others wrote is text: no colors, no orders.

On a terminal facts are wrapped at words and indented; an id is never broken. In a pipe each fact is one line.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from btpctl.overview import Overview
from models.deprovision import AbandonedObject
from models.durations import show_duration
from models.reclaim import ReclaimResult
from models.text import plain

COLOURS: Final = {"Ready": "green", "Error": "red", "Warning": "yellow", "Deleting": "magenta"}
LONGEST: Final = 4_000
"""Characters of a message: as many as a condition has."""
MOST_NAMED: Final = 20
"""Objects named in a question; the rest is counted."""
Fact = tuple[str, object]
"""A label and what somebody wrote; nothing is shown of what is empty."""


@dataclass(frozen=True)
class Block:
    """One thing, and the facts about it."""

    title: Text
    facts: Sequence[Fact] = ()

    def lines(self, width: int | None) -> list[Text]:
        """As they are printed; without a width nothing is wrapped."""
        told = [(f"{label}: " if label else "") + text(value).plain for label, value in self.facts if text(value).plain]
        return [self.title, *(Text(line) for fact in told for line in _wrapped(fact, width))]


def write(console: Console, blocks: Iterable[Block], nothing: str = "") -> None:
    """Print blocks, or a sentence if there is none."""
    width = console.width if console.is_terminal else None
    lines = [line for block in blocks for line in block.lines(width)] or [Text(nothing)]
    for line in lines:
        console.print(line, soft_wrap=True)


def standings(found: list[Overview]) -> list[Block]:
    """A block for each CR, with what is being done for it."""
    return [Block(_standing(each), _work(each)) for each in found]


def _standing(each: Overview) -> Text:
    age = show_duration(timedelta(seconds=each.age_seconds))
    said = text(f"{each.state or 'no state yet'}{'/' if each.reason else ''}{each.reason}", COLOURS.get(each.state, ""))
    return Text.assemble(text(each.name, "bold"), "  ", said, f"  {age} old")


def _work(each: Overview) -> list[Fact]:
    failure = f"{each.last_failure} (attempt {each.attempt})" if each.last_failure else ""
    return [
        ("", each.message),
        ("runs", each.workflow),
        ("waits for", each.waits_for if each.waits_for != each.message else ""),
        ("last failure", failure),
        ("budget left", _seconds(each.budget_left_seconds)),
        ("held, for", _seconds(each.held_for_seconds)),
        ("workflow", each.workflow_id),
        ("not known", each.trouble),
    ]


def abandoned(entries: list[dict[str, Any]]) -> list[Block]:
    """A block for each object that may live on."""
    return [
        Block(
            Text.assemble(
                text(entry.get("kind"), "bold"), " ", text(_where(entry.get("namespace"), entry.get("name")))
            ),
            [
                ("id in SAP BTP", entry.get("sap_id")),
                ("the broker's last message", entry.get("broker_message")),
                ("protected by preventDeletion", "yes" if entry.get("protected") else ""),
                ("reclaim", entry.get("reclaim")),
            ],
        )
        for entry in entries
    ]


def service_objects(found: list[AbandonedObject]) -> list[Block]:
    """A line for each object that a question is about; of many the first."""
    shown = [
        Block(text(f"  {each.kind} {each.namespace}/{each.name}{f' ({each.sap_id})' if each.sap_id else ''}"))
        for each in found[:MOST_NAMED]
    ]
    more = len(found) - MOST_NAMED
    return [*shown, Block(Text(f"  and {more} more"))] if more > 0 else shown


def reclaim(shown: ReclaimResult) -> list[Block]:
    """A block for each object that is reported as abandoned, with what would become of it."""
    blocks = [
        Block(
            Text.assemble(
                text(told.kind, "bold"), " ", text(_where(told.namespace, told.name)), f"  {told.outcome.value}"
            ),
            [("id in SAP BTP", told.sap_id), ("why", told.why)],
        )
        for told in shown.told
    ]
    more = shown.left - len(shown.told)
    return [*blocks, Block(Text(f"and {more} more"))] if more > 0 else blocks


def sentence(value: object) -> Block:
    """One line that quotes others."""
    return Block(text(value))


def text(value: object, style: str = "") -> Text:
    """What somebody wrote, on one line."""
    return Text(plain("" if value is None else value, LONGEST), style)


def _where(namespace: object, name: object) -> str:
    return f"{namespace}/{name}" if namespace else str(name or "")


def _seconds(left: int | None) -> str:
    return "" if left is None else show_duration(timedelta(seconds=left))


def _wrapped(fact: str, width: int | None) -> list[str]:
    """One fact, indented; its further lines a little more. What has no space in it stays whole."""
    if width is None:
        return [f"  {fact}"]
    return textwrap.wrap(
        fact,
        max(width, 20),
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
