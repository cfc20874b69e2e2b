"""The image has what its processes import, and docker compose names what exists. Neither was built or run here."""

import re
import tomllib

import yaml

from localcluster.controlplane import CHECKOUT

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def test_every_package_and_both_charts_are_copied_into_the_image() -> None:
    packages = {*PROJECT["tool"]["importlinter"]["root_packages"], "chart"}
    copied = set(re.findall(r"^COPY (\w+)/ \1/$", DOCKERFILE, re.MULTILINE))
    assert copied == packages
    sent = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert packages | {"pyproject.toml", "uv.lock", "localcluster/controlplane"} <= sent


def test_the_image_runs_as_nobody_in_particular_with_locked_packages() -> None:
    assert re.search(r"^USER 10001:30001$", DOCKERFILE, re.MULTILINE)
    assert "uv sync --frozen" in DOCKERFILE
    assert re.findall(r"^FROM (?!\$\{|scratch|environment)(\S+)", DOCKERFILE, re.MULTILINE) == []  # bases are arguments


def test_compose_mounts_files_that_exist_and_gives_the_processes_what_they_need() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (CHECKOUT / source).exists(), volume
    for process in ("worker", "trigger"):
        service = COMPOSE["services"][process]
        assert {"KUBECONFIG", "TEMPORAL_ADDRESS"} <= set(service["environment"])
        assert service["read_only"] and service["tmpfs"]
