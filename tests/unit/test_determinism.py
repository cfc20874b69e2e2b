"""Workflows run outside of Temporal's sandbox; that they do nothing a replay would do differently is proven by lint."""

import subprocess
import sys
from pathlib import Path

import pytest

from localcluster.controlplane import CHECKOUT

WORKFLOW = """\"\"\"Somebody's idea.\"\"\"

{imports}

from temporalio import workflow


@workflow.defn
class Idea:
    \"\"\"One.\"\"\"

    @workflow.run
    async def run(self) -> str:
        return str({call})
"""


def lint(path: str, imports: str, call: str) -> str:
    """What ruff says of such a file at that path."""
    command = [str(Path(sys.executable).parent / "ruff"), "check", "--select", "TID251", "--stdin-filename", path, "-"]
    source = WORKFLOW.format(imports=imports, call=call)
    done = subprocess.run(command, cwd=CHECKOUT, input=source, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from datetime import datetime", "datetime.now()"),
        ("from datetime import UTC, datetime", "datetime.now(UTC)"),
        ("import datetime", "datetime.datetime.utcnow()"),
        ("from datetime import date", "date.today()"),
        ("import time", "time.monotonic()"),
        ("from time import time", "time()"),
        ("import random", "random.random()"),
        ("from random import uniform", "uniform(1, 2)"),
        ("import os", "os.urandom(3)"),
        ("from os import environ", "environ"),
        ("import secrets", "secrets.token_hex()"),
        ("from uuid import uuid4", "uuid4()"),
        ("import uuid", "uuid.uuid1()"),
        ("import asyncio", "await asyncio.wait([])"),
        ("import asyncio", "await asyncio.to_thread(print)"),
        ("from pathlib import Path", "Path('x').read_text()"),
        ("import socket", "socket.gethostname()"),
        ("import subprocess", "subprocess.run([])"),
        ("import aiohttp", "aiohttp"),
    ],
)
@pytest.mark.parametrize("path", ["workflows/idea.py", "models/idea.py"])
def test_what_a_replay_would_do_differently_is_refused_in_workflows_and_their_models(
    path: str, imports: str, call: str
) -> None:
    assert "TID251" in lint(path, imports, call)


@pytest.mark.parametrize(
    ("path", "imports", "call"),
    [
        ("workflows/idea.py", "import asyncio", "await asyncio.sleep(1)"),
        ("workflows/idea.py", "from datetime import timedelta", "workflow.now() + timedelta(seconds=1)"),
        ("workflows/idea.py", "", "workflow.random().random()"),
        ("activities/idea.py", "from datetime import datetime", "datetime.now()"),
        ("tests/workflows/idea.py", "import os", "os.urandom(3)"),
    ],
)
def test_what_is_deterministic_and_what_is_no_workflow_is_let_through(path: str, imports: str, call: str) -> None:
    assert not lint(path, imports, call)
