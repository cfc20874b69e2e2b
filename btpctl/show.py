"""Tables for people. What others wrote is shown as text: no colors, no links, no orders to the terminal."""

from datetime import timedelta
from typing import Any

from rich.table import Table
from rich.text import Text

from btpctl.doctor import Check
from btpctl.overview import Overview
from models.durations import show_duration
from models.text import plain

COLOURS = {"Ready": "green", "Error": "red", "Warning": "yellow", "Deleting": "magenta"}
LONGEST = 4_000
"""Characters of a message: as many as a condition has."""


def standings(found: list[Overview]) -> Table | str:
    """One row for each CR, with what is being done for it."""
    if not found:
        return "There is no BtpOperator."
    running = ("Running", "Waits for", "Budget left") if any(each.workflow for each in found) else ()
    table = Table(box=None)
    for name in ("BtpOperator", "State", "Reason", "Message", *running):
        table.add_column(name, no_wrap=name in ("BtpOperator", "State", "Reason"))
    for each in found:
        failure = f"{each.last_failure} (attempt {each.attempt})" if each.last_failure else each.waits_for
        row = [text(each.name), text(each.state, COLOURS.get(each.state, "")), text(each.reason), text(each.message)]
        work = [text(each.workflow), text(failure if each.workflow else ""), text(_seconds(each.budget_left_seconds))]
        table.add_row(*row, *(work if running else []))
    return table


def abandoned(entries: list[dict[str, Any]]) -> Table | str:
    """One row for each object that may live on."""
    if not entries:
        return "Nothing was abandoned."
    table = Table("Kind", "Namespace", "Name", "Id in SAP BTP", "The broker's last message", box=None)
    for entry in entries:
        fields = ("kind", "namespace", "name", "sap_id", "broker_message")
        table.add_row(*(text(entry.get(field)) for field in fields))
    return table


def checks(found: list[Check]) -> Table:
    """One row for each check."""
    table = Table("", "Check", "", box=None)
    for check in found:
        verdict = "[red]no[/]" if not check.ok else "[yellow]!![/]" if check.warns else "[green]ok[/]"
        table.add_row(verdict, check.name, text(check.detail))
    return table


def text(value: object, style: str = "") -> Text:
    """What somebody wrote; a dash if it is nothing."""
    return Text(plain(value or "", LONGEST) or "-", style)


def _seconds(left: int | None) -> str:
    return "-" if left is None else show_duration(timedelta(seconds=left))
