"""The image has what its processes import; docker compose names what exists. tests/node and tests/compose run them."""

import re
import subprocess
import sys
import tomllib

import yaml
from kubernetes.aio import client as aio_client

from localcluster.controlplane import CHECKOUT
from localcluster.image import GO_IMAGE, PYTHON_IMAGE

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
OURS = PROJECT["tool"]["importlinter"]["root_packages"]
WITHOUT_REMOVED = """
import importlib, pkgutil, re, sys
class Removed:
    def find_spec(self, name, path=None, target=None):
        if re.match(r"kubernetes(\\.aio)?\\.client\\.(api|models)\\.", name):
            raise ImportError(f"{name} is not in the image")
sys.meta_path.insert(0, Removed())
for package in sys.argv[1:]:
    for found in pkgutil.walk_packages([package], f"{package}."):
        importlib.import_module(found.name)
"""


def test_every_package_and_both_charts_are_copied_into_the_image() -> None:
    packages = {*OURS, "chart"}
    copied = set(re.findall(r"^COPY (\w+)/ \1/$", DOCKERFILE, re.MULTILINE))
    assert copied == packages
    sent = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert packages | {"pyproject.toml", "uv.lock", "localcluster/controlplane"} <= sent


def test_the_image_runs_as_nobody_in_particular_with_locked_packages() -> None:
    assert re.search(r"^USER 10001:30001$", DOCKERFILE, re.MULTILINE)
    assert "uv export --quiet --frozen" in DOCKERFILE and "--require-hashes" in DOCKERFILE
    assert "--no-emit-project" in DOCKERFILE  # it has no hash; /app/bin/btpctl is its command there
    assert "bin/btpctl" in DOCKERFILE and "PATH=/app/bin:" in DOCKERFILE
    stages = {"scratch", *re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE)}
    assert set(re.findall(r"^FROM (?!\$\{)(\S+)", DOCKERFILE, re.MULTILINE)) <= stages  # bases are arguments
    assert f"ARG GO_IMAGE={GO_IMAGE}\n" in DOCKERFILE and f"ARG PYTHON_IMAGE={PYTHON_IMAGE}\n" in DOCKERFILE


def test_nothing_of_ours_needs_what_the_image_leaves_out_of_the_kubernetes_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_REMOVED, *OURS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-500:]
    used = {
        name
        for package in OURS
        for module in (CHECKOUT / package).rglob("*.py")
        for name in re.findall(r"\baio_client\.(\w+)", module.read_text())
    }
    assert "ApiClient" in used  # else the pattern finds nothing
    removed = re.compile(r"\.client\.(api|models)\.")
    assert [name for name in used if removed.search(f"{getattr(aio_client, name).__module__}.")] == []


def test_compose_mounts_files_that_exist_and_gives_the_processes_what_they_need() -> None:
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (CHECKOUT / source).exists(), volume
    for process in ("worker", "trigger"):
        service = COMPOSE["services"][process]
        assert {"KUBECONFIG", "TEMPORAL_ADDRESS"} <= set(service["environment"])
        assert service["read_only"] and service["tmpfs"]


def test_compose_survives_a_restart_of_every_service_and_of_the_engine() -> None:
    services = COMPOSE["services"]
    once = {"kubeconfig"}
    assert {name for name, service in services.items() if service.get("restart") != "unless-stopped"} == once
    assert not [name for name, service in services.items() if "network_mode" in service]
    assert [name for name, service in services.items() if "build" in service] == ["worker"]
    # What the cluster knows and what Temporal knows go together, or a workflow would be left without its CR.
    assert "cluster:/var/lib/rancher/k3s" in services["k3s"]["volumes"]
    assert "temporal:/var/lib/postgresql/data" in services["postgresql"]["volumes"]
