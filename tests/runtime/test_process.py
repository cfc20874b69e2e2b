"""How a process ends, as whoever started it sees it."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from localcluster.controlplane import CHECKOUT
from runtime.process import run
from runtime.settings import Settings, TriggerSettings

GIVES_A_CONNECTION_UP = """
import asyncio
from temporalio.client import Client
from runtime.process import leave

async def main():
    try:
        async with asyncio.timeout(0.001):
            await Client.connect("127.0.0.1:1")
    except (TimeoutError, RuntimeError):
        pass

asyncio.run(main())
leave(3)
"""


async def fails(settings: Settings) -> None:
    raise ValueError("something that nobody expected")


async def ends(settings: Settings) -> None:
    pass


@pytest.fixture(autouse=True)
def started_without_arguments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", ["trigger"])
    monkeypatch.setenv("BTP_LOG_FORMAT", "json")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before  # what `run` set up is for a whole process
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_error_that_nobody_expected_is_one_line_of_the_log_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trigger", TriggerSettings, fails) == 1
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["level"], said["event"], said["process"]) == ("critical", "ended by an error", "trigger")
    assert "ValueError: something that nobody expected" in said["exception"]


def test_an_end_in_order_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trigger", TriggerSettings, ends) == 0
    assert json.loads(capsys.readouterr().err)["event"] == "stopped"


def test_a_setting_that_cannot_be_used_is_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BTP_HARD_DELETE_TIMEOUT", "soon")
    assert run("trigger", TriggerSettings, ends) == 2
    said = "trigger: BTP_HARD_DELETE_TIMEOUT: 'soon' is not a duration such as 90s, 20m or 1h30m\n"
    assert capsys.readouterr().err == said


@pytest.mark.long
def test_a_connection_that_was_given_up_disturbs_no_end() -> None:
    """With an interpreter that is taken down, about every second one of these hangs or panics in the SDK's core."""
    for _ in range(8):
        command = [sys.executable, "-c", GIVES_A_CONNECTION_UP]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (3, "")
