"""Workflows run outside of Temporal's sandbox; that they do nothing a replay would do differently is proven by lint."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.worker.workflow_sandbox import SandboxMatcher, SandboxRestrictions

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
    return lint_source(path, WORKFLOW.format(imports=imports, call=call))


def lint_source(path: str, source: str) -> str:
    command = [
        str(Path(sys.executable).parent / "ruff"),
        "check",
        "--select",
        "TID251",
        "--output-format",
        "concise",
        "--stdin-filename",
        path,
        "-",
    ]
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


def members(matcher: SandboxMatcher, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """What Temporal's sandbox refuses to a workflow, by the names that lead there; a whole module ends with `*`."""
    for name in matcher.use:
        yield (*path, name)
    if matcher.match_self:
        yield path
    for name, child in matcher.children.items():
        yield from members(child, (*path, name))


REFUSED = sorted(set(members(SandboxRestrictions.invalid_module_members_default)))
BUILTINS = {path[-1] for path in REFUSED if path[0] == "__builtins__"}


def test_the_lint_refuses_all_that_temporals_sandbox_would() -> None:
    dotted = [".".join(path).removesuffix(".__call__") for path in REFUSED if path[0] != "__builtins__"]
    assert len(dotted) > 100 and "datetime.datetime.now" in dotted and "os.*" in dotted
    # One line for each: what is a module is imported, what is in one is named.
    source = "".join(
        f"import {name[:-2]}\n" if name.endswith(".*") else f"import {name.partition('.')[0]}; {name}\n"
        for name in dotted
    )
    said = lint_source("workflows/idea.py", source)
    lines = {int(line.split(":")[1]) for line in said.splitlines() if "TID251" in line}
    assert [name for number, name in enumerate(dotted, 1) if number not in lines] == []


@pytest.mark.parametrize("folder", ["workflows", "models"])
def test_no_workflow_and_no_model_calls_a_builtin_that_temporals_sandbox_refuses(folder: str) -> None:
    assert {"open", "input", "breakpoint"} <= BUILTINS
    assert list(builtin_calls("open('x')")) == ["open"] and not list(builtin_calls("workflow.open('x')"))
    called = [
        f"{file.name}: {name}"
        for file in sorted((CHECKOUT / folder).glob("**/*.py"))
        for name in builtin_calls(file.read_text())
    ]
    assert called == []


def builtin_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
            yield node.func.id


def test_no_workflow_waits_by_a_timeout_that_swallows_a_cancellation() -> None:
    """A `wait_condition` with a timeout goes through asyncio.wait_for; workflows/waiting.py says what that does."""
    for file in sorted((CHECKOUT / "workflows").glob("*.py")):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            waits = isinstance(call.func, ast.Attribute) and call.func.attr == "wait_condition"
            assert not (waits and any(word.arg == "timeout" for word in call.keywords)), f"{file.name}:{call.lineno}"
