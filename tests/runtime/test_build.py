"""Temporal notes in each history which code made it."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from temporalio.client import Client

from localcluster.controlplane import CHECKOUT
from localcluster.temporal import TemporalServer
from worker import build
from worker.__main__ import worker_with
from worker.build import PACKAGES, build_id


async def test_a_worker_names_its_build_itself(temporal_server: TemporalServer) -> None:
    client = await Client.connect(temporal_server.address)
    assert worker_with(client, "any", []).config()["build_id"] == build_id()


def test_a_build_is_named_by_all_code_of_ours_that_a_worker_loads() -> None:
    code = "import json, sys, worker.__main__; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    ours = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert {name for name in json.loads(done.stdout) if name in ours} == set(PACKAGES)


def test_another_line_of_code_is_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "CHECKOUT", tmp_path)
    file = tmp_path / "worker" / "a.py"
    file.parent.mkdir()
    file.write_text("one")
    one = build_id.__wrapped__()
    file.write_text("two")
    assert one != build_id.__wrapped__()
