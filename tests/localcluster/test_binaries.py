"""Getting the servers' binaries, with a compiler that only writes down what it was asked for."""

import os
import subprocess
import sys
from pathlib import Path

from localcluster.controlplane import CHECKOUT

COMPILER = """#!/bin/sh
[ "$1" = version ] && { echo go version go1.99.0 linux/amd64; exit; }
echo "$@" >> "$BUILDS"
sleep 1
while [ "$1" != -o ]; do shift; done
touch "$2"
"""


def test_of_two_commands_at_once_one_builds_a_program_and_both_have_it(tmp_path: Path) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(COMPILER)
    go.chmod(0o755)
    builds = tmp_path / "builds"
    environment = {
        "PATH": f"{go.parent}{os.pathsep}{os.environ['PATH']}",
        "BUILDS": str(builds),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "localcluster.binaries", "actionlint"]
    both = [
        subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1 and Path(said.pop()).is_file()
    assert len(builds.read_text().splitlines()) == 1
