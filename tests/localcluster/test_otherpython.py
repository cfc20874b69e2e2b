"""`make test-python` tests on the Python that was named, or on none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcluster.controlplane import CHECKOUT
from localcluster.otherpython import of_the_image


def asked_for(python: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "localcluster.otherpython", python, *arguments],
        cwd=CHECKOUT,
        env={
            **{name: value for name, value in os.environ.items() if name not in ("CI", "PYTHON_REQUIRED")},
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "status"),
    [({}, 1), ({"CI": "true"}, 0), ({"CI": "true", "PYTHON_REQUIRED": "true"}, 1)],
    ids=["by hand", "in CI", "in CI that says that it is there"],
)
def test_a_python_that_is_not_to_be_had_is_named_and_nothing_is_tested(
    environment: dict[str, str], status: int
) -> None:
    done = asked_for("3.99", "--version", **environment)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == "nothing was tested on Python 3.99: it is not here, and uv could not fetch it\n"


def test_the_workflow_on_github_is_not_green_without_the_images_python() -> None:
    assert 'PYTHON_REQUIRED: "true"' in (CHECKOUT / ".github/workflows/ci.yml").read_text()


def test_the_images_python_is_that_of_the_dockerfile() -> None:
    assert f"ARG PYTHON_IMAGE=python:{of_the_image()}." in Path(CHECKOUT / "Dockerfile").read_text()
