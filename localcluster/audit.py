"""`make audit`: whether anything locked has a known weakness, and what the licenses of the image's Go modules are.

Three programs look: pip-audit at the packages of uv.lock, govulncheck at what is built from the Go modules, and
go-licenses at the Go program that is in the image. Each needs data from the internet. What could not be looked at
is no good news, so this ends with 1 where something was found and with 2 where only the data was missing.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from localcluster.binaries import MODULES, go
from localcluster.controlplane import CHECKOUT
from localcluster.licenses import ALLOWED

GOVULNCHECK: Final = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
GO_LICENSES: Final = "github.com/google/go-licenses@v1.6.0"
FOUND_WEAKNESSES: Final = 3
"""With which govulncheck ends then; 1 is any trouble of its own."""
HELM: Final = "helm.sh/helm/v4/cmd/helm"


class Outcome(IntEnum):
    """How a look ended."""

    FINE = 0
    FOUND = 1
    NOT_REACHED = 2


@dataclass(frozen=True)
class Look:
    """What was looked at, how it ended, and what is to be read about it."""

    subject: str
    outcome: Outcome
    details: str = ""


def packages(report: dict[str, Any]) -> Look:
    """Judge pip-audit's report. It passes over packages that the index says nothing of, and calls that no weakness."""
    subject = "Python packages of uv.lock"
    listed = report["dependencies"]
    skipped = [each["name"] for each in listed if "skip_reason" in each]
    weak = [
        f"{each['name']} {each['version']}: {weakness['id']}" for each in listed for weakness in each.get("vulns", [])
    ]
    if weak:
        return Look(subject, Outcome.FOUND, "\n".join(weak))
    if skipped or not listed:
        return Look(subject, Outcome.NOT_REACHED, f"the index knows no weaknesses of {len(skipped)} of {len(listed)}")
    return Look(subject, Outcome.FINE, f"{len(listed)} looked at")


def go_program(package: str, status: int, output: str) -> Look:
    """Judge how govulncheck ended."""
    outcome = {0: Outcome.FINE, FOUND_WEAKNESSES: Outcome.FOUND}.get(status, Outcome.NOT_REACHED)
    return Look(package, outcome, "" if outcome is Outcome.FINE else output.strip()[-4000:])


def looks() -> Iterator[Look]:
    """Each as it ends."""
    yield _python()
    for module in MODULES:
        for package in module.packages.values():
            done = _go("run", GOVULNCHECK, "-C", str(module.folder), "-tags", module.tags, package)
            yield go_program(package, done.returncode, done.stdout + done.stderr)
    yield _licenses()


def _python() -> Look:
    with tempfile.TemporaryDirectory() as scratch:
        locked, report = Path(scratch, "requirements.txt"), Path(scratch, "report.json")
        export = ["--quiet", "--frozen", "--all-groups", "--no-emit-project", "--output-file", str(locked)]
        subprocess.run([os.environ.get("UV", "uv"), "export", *export], cwd=CHECKOUT, check=True)
        flags = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
        command = [sys.executable, "-m", "pip_audit", *flags, "--requirement", str(locked), "--output", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not report.exists():
            last = (done.stderr.strip() or "no report").splitlines()[-1]
            return Look("Python packages of uv.lock", Outcome.NOT_REACHED, last)
        return packages(json.loads(report.read_text()))


def _licenses() -> Look:
    controlplane = next(module for module in MODULES if HELM in module.packages.values())
    allowed = f"--allowed_licenses={','.join(sorted(ALLOWED))}"
    done = _go("run", GO_LICENSES, "check", HELM, allowed, folder=controlplane.folder)
    refused = [line for line in done.stderr.splitlines() if "Not allowed license" in line]
    subject = f"licenses in {HELM}"
    if refused:
        return Look(subject, Outcome.FOUND, "\n".join(refused))
    if done.returncode:
        return Look(subject, Outcome.NOT_REACHED, done.stderr.strip()[-1000:])
    return Look(subject, Outcome.FINE)


def _go(*arguments: str, folder: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CGO_ENABLED": "0"}
    return subprocess.run([*go(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    words = {Outcome.FINE: "nothing found", Outcome.FOUND: "FOUND", Outcome.NOT_REACHED: "NOT LOOKED AT"}
    outcomes = set()
    for look in looks():
        outcomes.add(look.outcome)
        print(f"{look.subject}: {words[look.outcome]}{': ' if look.details else ''}{look.details}", flush=True)
    return next((int(each) for each in (Outcome.FOUND, Outcome.NOT_REACHED) if each in outcomes), 0)


if __name__ == "__main__":
    sys.exit(main())
