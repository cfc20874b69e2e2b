"""This checkout beside an earlier commit: worker and trigger of each in turn, in environments that are the same."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment

NOW: Final = "now"


def commit_in(words: Sequence[str]) -> str:
    """The first argument that is no number: a commit to compare with. Empty if there is none."""
    return next((word for word in words if not re.fullmatch(r"[0-9]+", word)), "")


def numbers_in(words: Sequence[str]) -> list[int]:
    """The arguments that are numbers."""
    return [int(word) for word in words if re.fullmatch(r"[0-9]+", word)]


@contextmanager
def sides(commit: str) -> Iterator[Mapping[str, Path]]:
    """The folders of code, by name: the commit's first, if one is given, then this checkout."""
    if not commit:
        yield {NOW: CHECKOUT}
        return
    command = ["git", "archive", "--end-of-options", commit]
    archive = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=False)
    if archive.returncode:
        print(f"git finds no commit {commit!r} in this checkout", file=sys.stderr)
        sys.exit(2)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)  # noqa: S607
        yield {commit: Path(folder), NOW: CHECKOUT}


def environment_of(code: Path, settings: dict[str, str] | None = None, *, compared: bool) -> Environment:
    """An environment whose worker and trigger are of that code.

    Those of two that are compared are administrators: an earlier commit may ask for rights that the chart no longer
    gives. Deletions need a commit of which the stand-in operand here knows the chart (ca848a1 or later): with others
    its webhooks never admit an object.
    """
    administrator = "an earlier commit asks for other rights" if compared else ""
    environment = Environment(settings, administrator=administrator)
    for manager in environment.workers + environment.triggers:
        manager.environment |= {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    return environment
