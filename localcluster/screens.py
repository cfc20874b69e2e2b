"""`make screens`: what btpctl and kubectl show on a terminal, drawn by rich as SVG, for docs/pictures.

Every command is run for real, against the servers that the tests use. The pictures are looked at by people.
"""

import io
import os
import re
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from localcluster.binaries import binary, ensure_all
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT
from localcluster.demo import Story, use
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager
from localcluster.terminal import at_terminal

PICTURES: Final = CHECKOUT / "docs" / "pictures"
COLUMNS: Final = 80
WIDE: Final = 110
"""Columns for tables of kubectl, which are not made narrower."""


def btpctl(environment: Environment, name: str, *arguments: str, answer: str = "") -> None:
    """Run a command of btpctl, and keep what its terminal showed."""
    command = [sys.executable, "-m", "btpctl", *arguments]
    _, shown = at_terminal(command, environment.workers[0].environment, answer, COLUMNS)
    lines = shown.removeprefix(f"{answer}\n")  # the terminal echoed it before it was asked for
    draw(name, ["btpctl", *arguments], lines, COLUMNS)


def kubectl(environment: Environment, name: str, *arguments: str) -> None:
    """The same for kubectl."""
    variables = {**os.environ, "KUBECONFIG": str(environment.cluster.kubeconfig())}
    _, shown = at_terminal([str(binary("kubectl")), *arguments], variables, columns=WIDE)
    draw(name, ["kubectl", *arguments], shown.lstrip("\n"), WIDE)


def draw(name: str, command: list[str], lines: str, columns: int) -> None:
    """Keep a picture of what was typed at a terminal, and of what it showed."""
    typed = " ".join(f'"{word}"' if " " in word else word for word in command)
    shown = Text.from_ansi(f"$ {typed}\n{lines}")
    width = max(columns, *map(len, shown.plain.splitlines()))  # nothing is cut off
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(shown, soft_wrap=True)
    picture = console.export_svg(title=command[0], unique_id=name)
    PICTURES.mkdir(exist_ok=True)
    # The fonts are the reader's own: a picture that asks a server for them is no picture.
    (PICTURES / f"{name}.svg").write_text(re.sub(r"\s*@font-face \{[^}]*\}", "", picture))
    print(f"docs/pictures/{name}.svg")


def main() -> int:
    ensure_all()
    with (
        ServiceManager() as sap,
        Environment({"BTP_ANY_ADDRESS": "true"}) as environment,
    ):
        person = Person(environment.cluster)
        story = Story(person)
        person.put_secret(sap.credentials())
        person.create_operator("btpoperator")
        story.expect("btpoperator", "Ready", "ReconcileSucceeded")
        kubectl(environment, "kubectl-ready", "get", "btpoperators", "-A")
        btpctl(environment, "btpctl-doctor", "doctor")
        operand = environment.start_operand()
        use(story, person, sap)
        operand.kill()
        person.delete_operator("btpoperator")

        def says_when_it_ends() -> bool:
            status = person.status("btpoperator")
            return status is not None and "soft delete follows" in status.message

        wait_until(says_when_it_ends, "the deletion to say how long it waits", seconds=60)
        kubectl(environment, "kubectl-deleting", "get", "btpoperators", "-A")
        btpctl(environment, "btpctl-status", "status")
        why = ("--by", "alice", "--why", "the broker is back at four")
        btpctl(environment, "btpctl-extend", "extend", "--minutes", "60", *why)
        btpctl(environment, "btpctl-soft-delete", "soft-delete", "--by", "alice", answer="n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
