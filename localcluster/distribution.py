"""`make release`: builds what is published of a version into dist/, from its tag.

The image as an OCI archive with a list of its contents, both charts, manifests for kubectl and for Kyma, the wheel,
provenance, and checksums that `sha256sum -c SHA256SUMS` checks without a network. `--snapshot` builds the same from
whatever is checked out. Nothing is published: that is for whoever has the rights to.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster import image, module
from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from localcluster.sbom import sbom

DIST: Final = CHECKOUT / "dist"
CHARTS: Final = (CHECKOUT / "chart" / "btp-manager", CHECKOUT / "chart" / "sap-btp-operator")
SUMS: Final = "SHA256SUMS"
PROVENANCE: Final = "provenance.json"
SIGNATURE: Final = f"{SUMS}.sigstore.json"


@dataclass(frozen=True)
class Source:
    """What is checked out."""

    version: str
    commit: str
    tagged: bool
    """Whether the commit has this version's tag."""
    changed: Sequence[str]
    """Files that differ from the commit, or that it does not have."""

    @property
    def tag(self) -> str:
        return f"v{self.version}"


def source() -> Source:
    """What is checked out.

    Raises:
        ValueError: pyproject.toml, the chart and the changelog are not of one version.
    """
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHARTS[0] / "Chart.yaml").read_text())
    others = {f"{key} of chart/btp-manager/Chart.yaml": chart[key] for key in ("version", "appVersion")}
    if differing := [f"{what} is {value}" for what, value in others.items() if value != version]:
        raise ValueError(f"pyproject.toml has version {version}, but {' and '.join(differing)}")
    if f"\n## [{version}]" not in (CHECKOUT / "CHANGELOG.md").read_text():
        raise ValueError(f"CHANGELOG.md has no section [{version}]")
    tags = _git("tag", "--points-at", "HEAD").split()
    changed = [line[3:] for line in _git("status", "--porcelain").splitlines()]
    return Source(version, _git("rev-parse", "HEAD").strip(), f"v{version}" in tags, changed)


def refusal(built: Source) -> str:
    """Why no release is built of this; empty if one is."""
    if built.changed:
        more = f" and {len(built.changed) - 3} more" if len(built.changed) > 3 else ""
        return f"the checkout differs from its commit: {', '.join(built.changed[:3])}{more}"
    if not built.tagged:
        return f"HEAD ({built.commit[:12]}) has no tag {built.tag}, the version in pyproject.toml"
    if not re.search(rf"^## \[{re.escape(built.version)}\] - \d{{4}}-\d\d-\d\d$", _changelog(), re.MULTILINE):
        return f"the section [{built.version}] of CHANGELOG.md has no date"
    return ""


def build(folder: Path, built: Source, base: str, flags: list[str]) -> list[str]:
    """Write everything into an empty folder. Returns what is missing, a sentence each.

    Raises:
        ValueError: Helm refuses the values; RuntimeError: something cannot be built.
    """
    started = datetime.now(UTC)
    objects = module.rendered(flags)
    (folder / "btp-manager.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))
    shutil.copy(CHECKOUT / "docs" / "prerequisites.yaml", folder)
    module.write(folder, base, flags)
    for chart in CHARTS:
        _package(chart, folder)
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise RuntimeError("uv is not on PATH; `make release` brings it")
    _run(uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(CHECKOUT))
    (folder / ".gitignore").unlink(missing_ok=True)  # uv's own
    missing = [_image(folder, built, objects)]
    subjects = checksums(folder)
    (folder / PROVENANCE).write_text(json.dumps(provenance(built, subjects, [*flags], started), indent=2) + "\n")
    sums = {**subjects, **checksums(folder)}
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
    missing.append(_sign(folder))
    return [sentence for sentence in missing if sentence]


def checksums(folder: Path) -> dict[str, str]:
    """Of every file: its SHA-256, in hexadecimal digits."""
    sums = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def provenance(built: Source, subjects: dict[str, str], flags: list[str], started: datetime) -> dict[str, Any]:
    """Who built these files from what: an in-toto statement with the predicate of SLSA."""
    inputs = {name: hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest() for name in ("uv.lock", "Dockerfile")}
    address, run = _repository(), os.environ.get("GITHUB_RUN_ID", "")
    place = {"uri": f"git+{address}"} if address else {}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:btp-manager:make-release",
                "externalParameters": {
                    "tag": built.tag if built.tagged else None,
                    "changedFiles": list(built.changed),
                    "arguments": flags,
                },
                "resolvedDependencies": [
                    {**place, "digest": {"gitCommit": built.commit}},
                    *({"name": name, "digest": {"sha256": digest}} for name, digest in inputs.items()),
                ],
            },
            "runDetails": {
                "builder": {"id": f"{address}/actions" if address else "urn:btp-manager:by-hand"},
                "metadata": {
                    **({"invocationId": f"{address}/actions/runs/{run}"} if run else {}),
                    "startedOn": started.isoformat(timespec="seconds"),
                    "finishedOn": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            },
        },
    }


def _repository() -> str:
    """Where the source is on GitHub, if that is where this runs; else empty."""
    server, repository = (os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"))
    return f"{server}/{repository}" if repository else ""


def _package(chart: Path, folder: Path) -> None:
    """The chart as Helm packs it; the manager's says where its source is, if that is known."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(chart, Path(scratch, chart.name)))
        if chart == CHARTS[0] and (address := _repository()):
            with (copy / "Chart.yaml").open("a") as file:
                file.write(f"home: {address}\nsources: [{address}]\n")
        _run(str(binary("helm")), "package", str(copy), "--destination", str(folder))


def _image(folder: Path, built: Source, objects: list[dict[str, Any]]) -> str:
    """The image, under the name that the manifests have for it, and the list of what is in it; or why there is none."""
    try:
        engine = image.find_engine()
    except RuntimeError as problem:
        return f"There is no image, and no list of what is in it: {problem}."
    (name,) = {
        container["image"]
        for obj in objects
        if obj["kind"] == "Deployment"
        for container in obj["spec"]["template"]["spec"]["containers"]
    }
    whole = name if "/" in name else f"docker.io/library/{name}"
    archive = folder / f"btp-manager-image-{built.version}.tar"
    image.build(engine, whole)
    engine.save(whole, archive)
    contents = sbom(archive, whole)
    archive.with_suffix(".cdx.json").write_text(json.dumps(contents, indent=2) + "\n")
    return ""


def _sign(folder: Path) -> str:
    """Have cosign sign the checksums, and by them every file; or why they are not signed."""
    cosign, key = shutil.which("cosign"), os.environ.get("COSIGN_KEY")
    if not cosign:
        return "Nothing is signed: cosign is not on PATH."
    if not key and "ACTIONS_ID_TOKEN_REQUEST_URL" not in os.environ:
        return "Nothing is signed: there is neither a key (COSIGN_KEY) nor a workflow's identity."
    ours = ["--key", key] if key else []
    _run(cosign, "sign-blob", "--yes", *ours, "--bundle", str(folder / SIGNATURE), str(folder / SUMS))
    return ""


def _changelog() -> str:
    return (CHECKOUT / "CHANGELOG.md").read_text()


def _git(*arguments: str) -> str:
    return _run("git", "-C", str(CHECKOUT), *arguments)


def _run(*command: str) -> str:
    """Raises RuntimeError: it failed; the message is the program's last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} {' '.join(command[1:3])}: {done.stderr[-1500:].strip()}")
    return done.stdout


def main() -> int:
    """Build, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshot", action="store_true", help="build what is checked out, tagged or not")
    parser.add_argument("--base", default="https://example.com/btp-manager", help="where the files will be published")
    arguments, flags = parser.parse_known_args()
    try:
        built = source()
        if not arguments.snapshot and (why := refusal(built)):
            raise ValueError(f"no release is built: {why}. For a trial: make release ARGS=--snapshot")
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "dist")
            folder.mkdir()
            missing = build(folder, built, arguments.base.rstrip("/"), flags)
            shutil.rmtree(DIST, ignore_errors=True)
            shutil.move(folder, DIST)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.relative_to(CHECKOUT)}")
    for sentence in missing:
        print(sentence)
    whole = built.tag if not refusal(built) else f"a snapshot of {built.commit[:12]}, and no release: do not publish it"
    print(f"This is {whole}. Check it: cd {DIST.name} && sha256sum -c {SUMS}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(str(error))
