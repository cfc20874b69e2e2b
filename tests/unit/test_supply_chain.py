"""What comes from elsewhere is pinned by its contents, has an allowed license, and is looked at for weaknesses."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from localcluster.audit import Outcome, go_program, packages
from localcluster.controlplane import CHECKOUT
from localcluster.licenses import allows, problems

LOCK = tomllib.loads((CHECKOUT / "uv.lock").read_text())
PINNED = re.compile(r"[^:@]+:[^:@]+@sha256:[0-9a-f]{64}")


def locked(**source: str) -> dict[str, Any]:
    return {"package": [{"name": "newcomer", "source": source or {"registry": "https://pypi.org/simple"}}]}


def test_every_image_that_is_pulled_to_build_or_to_try_it_is_named_with_its_digest() -> None:
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    pulled = [service["image"] for service in compose["services"].values() if "build" not in service]
    named = {*bases, *pulled} - {"btp-manager:local"}
    assert len(named) == 6
    assert [image for image in named if not PINNED.fullmatch(image)] == []


def test_pip_installs_nothing_without_a_hash_and_the_lock_has_one_for_every_file() -> None:
    for name in ("Makefile", "Dockerfile"):
        text = (CHECKOUT / name).read_text()
        assert "pip install" in text.replace('pip" --quiet --disable-pip-version-check', "pip"), name
        for line in re.findall(r".*\bpip\b.* install .*", text):
            assert "--require-hashes --requirement uv.txt" in line, line
    version = re.search(r"^UV_VERSION := (\S+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert version and f"\nuv=={version[1]} \\\n    --hash=sha256:" in (CHECKOUT / "uv.txt").read_text()
    files = [file for package in LOCK["package"] for file in [*package.get("wheels", []), package.get("sdist")] if file]
    assert len(files) > 1000
    assert [file["url"] for file in files if not file["hash"].startswith("sha256:")] == []


def test_every_locked_package_has_a_license_that_is_allowed() -> None:
    assert list(problems(LOCK)) == []


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("AGPL-3.0-only", "'AGPL-3.0-only' is not among"),
        ("MIT AND GPL-2.0-only", "is not among"),
        ("(MIT OR Apache-2.0) AND Proprietary", "is not among"),
        ("Other/Proprietary License", "is not among"),
        ("", "states no license"),
        (None, "not installed"),
    ],
)
def test_a_package_with_another_license_or_with_none_is_named(stated: str | None, said: str) -> None:
    (problem,) = problems(locked(), lambda _: stated)
    assert problem.startswith("newcomer") and said in problem


def test_a_choice_of_licenses_needs_one_that_is_allowed_and_a_combination_all() -> None:
    assert allows("MIT") and allows("GPL-3.0 OR MIT") and allows("Apache-2.0 AND BSD License")
    assert allows("(MIT)") and not allows("GPL-3.0 OR LGPL-3.0") and not allows("MIT WITH something")
    assert list(problems(locked(editable="."), lambda _: None)) == []  # this project itself


def test_packages_that_the_audit_could_not_look_at_are_no_good_news() -> None:
    fine = {"name": "a", "version": "1", "vulns": []}
    skipped = {"name": "b", "skip_reason": "not found"}
    weak = {"name": "c", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
    assert packages({"dependencies": [fine]}).outcome is Outcome.FINE
    assert packages({"dependencies": []}).outcome is Outcome.NOT_REACHED
    assert packages({"dependencies": [fine, skipped]}).outcome is Outcome.NOT_REACHED
    found = packages({"dependencies": [fine, skipped, weak]})
    assert (found.outcome, found.details) == (Outcome.FOUND, "c 2: PYSEC-1")
    ends = {status: go_program("helm", status, "why").outcome for status in (0, 1, 2, 3)}
    assert ends == {0: Outcome.FINE, 1: Outcome.NOT_REACHED, 2: Outcome.NOT_REACHED, 3: Outcome.FOUND}
