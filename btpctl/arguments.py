"""Arguments and options that several commands take, and the question before what cannot be undone."""

import sys
from typing import Annotated, Literal

import typer

from btpctl.errors import CommandError
from models.text import plain

Output = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="For people, or for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _named(value: str) -> str:
    if not plain(value):
        raise typer.BadParameter("is empty")
    return value


By = Annotated[str, typer.Option(help="Who asks. It is recorded.", callback=_named)]
Why = Annotated[str, typer.Option(help="Why. It is recorded.", callback=_named)]
Name = Annotated[
    str, typer.Argument(help="The BtpOperator: namespace/name, or its name; not needed where there is only one.")
]


def ask(question: str, yes: bool) -> None:
    """Go on only if a person agrees. Whoever does not ends the command with 1.

    Raises:
        CommandError: nobody can be asked here.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("nobody can be asked here: say --yes if what would be lost may be lost")
    typer.confirm(question, abort=True)
