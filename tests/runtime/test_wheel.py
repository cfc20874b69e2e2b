"""The command line as it is installed on a laptop: a wheel, in an environment that has nothing else of ours."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from localcluster.controlplane import CHECKOUT

pytestmark = pytest.mark.long

UV = os.environ.get("UV") or shutil.which("uv")


@pytest.mark.skipif(not UV, reason="uv is not on PATH; `make test` brings it")
def test_the_wheel_works_in_a_fresh_environment(tmp_path: Path) -> None:
    def run(*command: str | Path, status: int = 0, **more: str) -> str:
        variables = {**os.environ, "PYTHONPATH": "", **more}
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    assert UV
    locked = tmp_path / "locked.txt"
    selected = ("--frozen", "--no-default-groups", "--no-emit-project", "--no-hashes", "--output-file", locked)
    run(UV, "export", "--quiet", "--project", CHECKOUT, *selected)
    run(UV, "build", "--quiet", "--wheel", "--out-dir", tmp_path, CHECKOUT)
    [wheel] = tmp_path.glob("btp_manager-*.whl")
    environment = tmp_path / "environment"
    run(UV, "venv", "--quiet", environment)
    run(UV, "pip", "install", "--quiet", "--python", environment, "--constraints", locked, wheel)
    programs = environment / "bin"
    assert run(programs / "btpctl", "--version").startswith("btpctl ")
    assert "no usable Kubernetes configuration" in run(programs / "btpctl", "status", status=2, KUBECONFIG="/nowhere")
    assert "Usage: kubectl btp " in run(programs / "kubectl-btp", "--help")
    kubectl = shutil.which("kubectl")
    if kubectl:  # it finds its plugins on PATH
        said = run(kubectl, "btp", "--version", PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
        assert said.startswith("btpctl ")
