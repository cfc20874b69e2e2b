"""Tables for people."""

from datetime import timedelta
from typing import Any

from rich.markup import escape
from rich.table import Table

from btpctl.doctor import Check
from btpctl.overview import Overview
from models.durations import show_duration

COLOURS = {"Ready": "green", "Error": "red", "Warning": "yellow", "Deleting": "magenta"}


def standings(found: list[Overview]) -> Table | str:
    """One row for each CR, with what is being done for it."""
    if not found:
        return "There is no BtpOperator."
    running = ("Running", "Waits for", "Budget left") if any(each.workflow for each in found) else ()
    table = Table(box=None)
    for name in ("BtpOperator", "State", "Reason", "Message", *running):
        table.add_column(name, no_wrap=name in ("BtpOperator", "State", "Reason"))
    for each in found:
        colour = COLOURS.get(each.state, "default")
        row = [escape(each.name), f"[{colour}]{each.state or '-'}[/]", each.reason or "-", escape(each.message)]
        failure = f"{each.last_failure} (attempt {each.attempt})" if each.last_failure else each.waits_for
        work = [each.workflow or "-", escape(failure) if each.workflow else "-", _seconds(each.budget_left_seconds)]
        table.add_row(*row, *(work if running else []))
    return table


def abandoned(entries: list[dict[str, Any]]) -> Table | str:
    """One row for each object that may live on."""
    if not entries:
        return "Nothing was abandoned."
    table = Table("Kind", "Namespace", "Name", "Id in SAP BTP", "The broker's last message", box=None)
    for entry in entries:
        fields = ("kind", "namespace", "name", "sap_id", "broker_message")
        table.add_row(*(escape(str(entry.get(field) or "-")) for field in fields))
    return table


def checks(found: list[Check]) -> Table:
    """One row for each check."""
    table = Table("", "Check", "", box=None)
    for check in found:
        table.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, escape(check.detail))
    return table


def _seconds(left: int | None) -> str:
    return "-" if left is None else show_duration(timedelta(seconds=left))
