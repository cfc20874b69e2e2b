"""`make release` builds from a tag only, everything that is published, and says what is missing."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.binaries import binary
from tests.distribution.conftest import VERSION, Release

pytestmark = pytest.mark.long

Git = Callable[..., str]


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """What somebody does who has downloaded all files."""
    return subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False
    )


def described(package: Path) -> dict[str, Any]:
    """What a packaged chart says of itself."""
    command = [str(binary("helm")), "show", "chart", str(package)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    chart: dict[str, Any] = yaml.safe_load(done.stdout)
    return chart


def test_everything_is_there_and_has_a_checksum_that_one_command_checks(dist: Path, tmp_path: Path) -> None:
    names = {path.name for path in dist.iterdir()} - {"printed"}
    assert names == {
        f"btp-manager-{VERSION}.tgz",
        "sap-btp-operator-0.11.10.tgz",
        "btp-manager.yaml",
        "prerequisites.yaml",
        "manifest.yaml",
        "default-cr.yaml",
        "module-config.yaml",
        "icon.svg",
        f"btp_manager-{VERSION}-py3-none-any.whl",
        "provenance.json",
        "SHA256SUMS",
    }
    assert {line.split("  ")[1] for line in (dist / "SHA256SUMS").read_text().splitlines()} == names - {"SHA256SUMS"}
    assert check(dist).returncode == 0
    for name in names:
        (tmp_path / name).write_bytes((dist / name).read_bytes())
    with (tmp_path / "btp-manager.yaml").open("a") as file:
        file.write("\n")
    done = check(tmp_path)
    assert done.returncode == 1 and "btp-manager.yaml: FAILED" in done.stdout


def test_what_could_not_be_built_or_signed_is_said_in_a_sentence(dist: Path) -> None:
    printed = (dist / "printed").read_text()
    assert "There is no image, and no list of what is in it: no container engine answers: none." in printed
    assert "Nothing is signed: cosign is not on PATH." in printed


def test_the_provenance_names_every_file_the_commit_and_the_tag(dist: Path, checkout: Path, git: Git) -> None:
    statement = json.loads((dist / "provenance.json").read_text())
    sums = {line.split("  ")[1]: line.split("  ")[0] for line in (dist / "SHA256SUMS").read_text().splitlines()}
    del sums["provenance.json"]
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == sums
    built = statement["predicate"]["buildDefinition"]
    assert built["externalParameters"] == {"tag": f"v{VERSION}", "changedFiles": [], "arguments": []}
    assert built["resolvedDependencies"][0]["digest"] == {"gitCommit": git(checkout, "rev-parse", "HEAD").strip()}


def test_the_manifest_for_kubectl_needs_no_helm_and_names_the_image_of_this_version(dist: Path) -> None:
    objects = [obj for obj in yaml.safe_load_all((dist / "btp-manager.yaml").read_text()) if obj]
    assert {"CustomResourceDefinition", "Deployment", "ValidatingAdmissionPolicy"} <= {obj["kind"] for obj in objects}
    assert "helm.sh/hook" not in str(objects)
    images = {
        obj["spec"]["template"]["spec"]["containers"][0]["image"] for obj in objects if obj["kind"] == "Deployment"
    }
    assert images == {f"btp-manager:{VERSION}"}


def test_nothing_is_released_without_the_tag_of_its_version(checkout: Path, git: Git, release: Release) -> None:
    done = release(checkout)
    commit = git(checkout, "rev-parse", "--short=12", "HEAD").strip()
    assert done.returncode == 2 and f"HEAD ({commit}) has no tag v{VERSION}" in done.stderr
    git(checkout, "tag", "v0.2.0")
    assert f"has no tag v{VERSION}" in release(checkout).stderr
    git(checkout, "tag", "--delete", "v0.2.0")
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("name", ["worker/__main__.py", "worker/new.py"])
def test_nothing_is_released_from_files_that_the_commit_does_not_have(
    name: str, checkout: Path, git: Git, release: Release
) -> None:
    git(checkout, "tag", f"v{VERSION}")
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    try:
        done = release(checkout)
        assert done.returncode == 2 and f"the checkout differs from its commit: {name}" in done.stderr
    finally:
        git(checkout, "clean", "--force", "--quiet")
        git(checkout, "checkout", "--quiet", ".")
        git(checkout, "tag", "--delete", f"v{VERSION}")


@pytest.mark.parametrize(
    ("name", "before", "after", "why"),
    [
        (
            "pyproject.toml",
            'version = "0.1.0"',
            'version = "0.2.0"',
            "pyproject.toml has version 0.2.0, but version of",
        ),
        ("chart/btp-manager/Chart.yaml", "appVersion: 0.1.0", "appVersion: 0.2.0", "appVersion of .* is 0.2.0"),
        ("CHANGELOG.md", "## [0.1.0]", "## [0.0.9]", r"CHANGELOG.md has no section \[0.1.0\]"),
        ("CHANGELOG.md", "[0.1.0] - 2026-01-31", "[0.1.0] - unreleased", r"the section \[0.1.0\] .* has no date"),
    ],
)
def test_nothing_is_released_of_which_the_files_say_different_versions(
    name: str, before: str, after: str, why: str, checkout: Path, git: Git, release: Release
) -> None:
    text = (checkout / name).read_text()
    assert before in text
    (checkout / name).write_text(text.replace(before, after, 1))
    git(checkout, "commit", "--quiet", "--all", "--message", "other version")
    git(checkout, "tag", f"v{VERSION}")
    try:
        done = release(checkout)
        assert done.returncode == 2 and re.search(why, done.stderr), done.stderr
    finally:
        git(checkout, "tag", "--delete", f"v{VERSION}")
        git(checkout, "reset", "--quiet", "--hard", "HEAD~1")


def test_a_snapshot_needs_no_tag_and_says_what_it_is_wherever_it_goes(
    checkout: Path, release: Release, tmp_path: Path
) -> None:
    (checkout / "NOTES").write_text("not committed\n")
    cosign = tmp_path / "cosign"
    cosign.write_text("#!/bin/sh\nexit 3\n")
    cosign.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    try:
        github = {"GITHUB_SERVER_URL": "https://github.example", "GITHUB_REPOSITORY": "team/btp-manager"}
        done = release(checkout, "--snapshot", "--set", "image.repository=registry.example/m", PATH=path, **github)
        assert done.returncode == 0, done.stderr
        assert "a snapshot of" in done.stdout and "no release: do not publish it" in done.stdout
        assert "Nothing is signed: there is neither a key" in done.stdout
        text = (checkout / "dist" / "provenance.json").read_text()
        parameters = json.loads(text)["predicate"]["buildDefinition"]["externalParameters"]
        assert (parameters["tag"], parameters["changedFiles"]) == (None, ["NOTES"])
        for name in ("btp-manager.yaml", "manifest.yaml"):
            assert f"image: registry.example/m:{VERSION}" in (checkout / "dist" / name).read_text()
        address = "https://github.example/team/btp-manager"
        chart = described(checkout / "dist" / f"btp-manager-{VERSION}.tgz")
        assert (chart["home"], chart["sources"]) == (address, [address])
        # What failed leaves what was there before.
        refused = release(checkout, "--snapshot", "--set", "nonsense=1")
        assert refused.returncode == 2 and "nonsense" in refused.stderr
        assert check(checkout / "dist").returncode == 0
        failed = release(checkout, "--snapshot", PATH=path, COSIGN_KEY="key")
        assert failed.returncode == 1 and "cosign sign-blob" in failed.stderr
    finally:
        (checkout / "NOTES").unlink()
