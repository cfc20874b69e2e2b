"""A release of this checkout, built once as CONTRIBUTING.md says, in a repository of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localcluster.controlplane import CHECKOUT

Release = Callable[..., subprocess.CompletedProcess[str]]
"""Builds from a checkout, with arguments and variables: without an image, which takes minutes and root."""
VERSION = "0.1.0"
NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "n@example.com"}


@pytest.fixture(scope="session")
def git() -> Callable[..., str]:
    committer = {key.replace("AUTHOR", "COMMITTER"): value for key, value in NOBODY.items()}

    def run(checkout: Path, *arguments: str) -> str:
        variables = {**os.environ, **NOBODY, **committer}
        done = subprocess.run(
            ["git", *arguments], cwd=checkout, env=variables, capture_output=True, text=True, check=True
        )
        return done.stdout

    return run


@pytest.fixture(scope="session")
def release() -> Release:
    def build(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(
            part for part in os.environ["PATH"].split(os.pathsep) if not Path(part, "cosign").exists()
        )
        environment = {**os.environ, "PATH": path, "ENGINE": "none", **variables}
        command = [sys.executable, "-m", "localcluster.distribution", *arguments]
        return subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=110
        )

    return build


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory, git: Callable[..., str]) -> Path:
    """A repository with one commit, which has everything that is here, and a changelog with a date."""
    if not os.environ.get("UV") and not shutil.which("uv"):
        pytest.skip("uv is not on PATH; `make test` brings it")
    folder = tmp_path_factory.mktemp("checkout")
    for name in git(CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (CHECKOUT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    changelog = folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## [0.1.0] - unreleased", "## [0.1.0] - 2026-01-31"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "everything")
    return folder


@pytest.fixture(scope="session")
def dist(checkout: Path, git: Callable[..., str], release: Release) -> Path:
    """The folder that `make release` writes from a tag."""
    git(checkout, "tag", f"v{VERSION}")
    done = release(checkout)
    assert done.returncode == 0, done.stderr
    assert f"This is v{VERSION}." in done.stdout
    (checkout / "dist" / "printed").write_text(done.stdout)
    kept = checkout.parent / f"{checkout.name}-dist"
    shutil.move(checkout / "dist", kept)
    git(checkout, "tag", "--delete", f"v{VERSION}")
    return kept
