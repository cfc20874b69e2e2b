"""`make screens`: what btpctl shows on a terminal of 80 columns, drawn by rich as SVG, for docs/pictures.

Every command is run for real, against the servers that the tests use. The pictures are looked at by people.
"""

import io
import re
import sys
from typing import Final

from rich.console import Console
from rich.text import Text

from localcluster.binaries import ensure_all
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT
from localcluster.demo import Story, use
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager
from localcluster.terminal import at_terminal

PICTURES: Final = CHECKOUT / "docs" / "pictures"
COLUMNS: Final = 80


def draw(environment: Environment, name: str, *arguments: str, answer: str = "") -> None:
    """Run a command, and keep what its terminal showed."""
    command = [sys.executable, "-m", "btpctl", *arguments]
    _, shown = at_terminal(command, environment.workers[0].environment, answer, COLUMNS)
    typed = " ".join(f'"{word}"' if " " in word else word for word in arguments)
    lines = shown.removeprefix(f"{answer}\n")  # the terminal echoed it before it was asked for
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(f"$ btpctl {typed}\n{lines}"), soft_wrap=True)
    picture = console.export_svg(title="btpctl", unique_id=name)
    PICTURES.mkdir(exist_ok=True)
    # The fonts are the reader's own: a picture that asks a server for them is no picture.
    (PICTURES / f"{name}.svg").write_text(re.sub(r"\s*@font-face \{[^}]*\}", "", picture))
    print(f"docs/pictures/{name}.svg")


def main() -> int:
    ensure_all()
    with (
        ServiceManager() as sap,
        Environment({"BTP_RECLAIM_ANY_ADDRESS": "true"}) as environment,
    ):
        person = Person(environment.cluster)
        story = Story(person)
        person.put_secret(sap.credentials())
        person.create_operator("btpoperator")
        story.expect("btpoperator", "Ready", "ReconcileSucceeded")
        draw(environment, "btpctl-doctor", "doctor")
        operand = environment.start_operand()
        use(story, person, sap)
        operand.kill()
        person.delete_operator("btpoperator")

        def is_refused() -> bool:
            status = person.status("btpoperator")
            return status is not None and "refused" in status.message

        wait_until(is_refused, "the deletion to say what is refused", seconds=60)
        draw(environment, "btpctl-status", "status")
        why = ("--by", "alice", "--why", "the broker is back at four")
        draw(environment, "btpctl-extend", "extend", "--minutes", "60", *why)
        draw(environment, "btpctl-soft-delete", "soft-delete", "--by", "alice", answer="n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
