"""Runs the commands of a page, as far as this project's pages use kubectl and Helm: what a page says is tried."""

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from kube.resources import BTP_OPERATORS
from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.shipped import helm
from localcluster.temporal import CLI
from localcluster.terminal import at_terminal
from models.names import KYMA_NAMESPACE

CORE: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}"
RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
WHERE: Final = {
    "configmap": f"{CORE}/configmaps",
    "secret": f"{CORE}/secrets",
    "deployment": f"/apis/apps/v1/namespaces/{KYMA_NAMESPACE}/deployments",
    "role": f"{RBAC}/namespaces/{KYMA_NAMESPACE}/roles",
    "rolebinding": f"{RBAC}/namespaces/{KYMA_NAMESPACE}/rolebindings",
    "clusterrole": f"{RBAC}/clusterroles",
    "clusterrolebinding": f"{RBAC}/clusterrolebindings",
    "btpoperator": BTP_OPERATORS.path(KYMA_NAMESPACE),
}
BLOCK: Final = re.compile(r"```text\n(.*?)```", re.DOTALL)
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


def commands(page: Path, section: str) -> list[str]:
    """The lines of the section's blocks of commands, in order."""
    text = page.read_text().split(f"## {section}", 1)[1].split("\n## ", 1)[0]
    return [line for block in BLOCK.findall(text) for line in _lines(block)]


def block(page: Path, before: str) -> list[str]:
    """The lines of the first block of commands that follows these words."""
    after = page.read_text().split(before, 1)[1]
    return _lines(BLOCK.findall(after)[0])


def in_sentences(page: Path, section: str) -> list[str]:
    """The commands of btpctl in a section's sentences and tables, in order."""
    text = page.read_text().split(f"## {section}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"`(btpctl [^`]+)`", text)


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip()]


class Shell:
    """An administrator's, in a folder of its own."""

    def __init__(self, cluster: ControlPlane, folder: Path) -> None:
        self.cluster, self._folder = cluster, folder

    def run(self, line: str, *more: str) -> "subprocess.CompletedProcess[str] | None":
        """Do what the line says.

        Raises:
            NotImplementedError: it is written in another way than the pages' commands so far.
            HTTPError, RuntimeError: it failed.
        """
        words = [word for word in shlex.split(line) if word not in ("-n", "--namespace", KYMA_NAMESPACE)]
        match words:
            case ["btpctl", *arguments]:
                return self._btpctl([*arguments, *more])
            case ["helm", *arguments]:
                helm(self.cluster, *(self._path(word) for word in arguments), *more)
            case ["kubectl", "apply", "-f", path]:
                self._apply(self._path(path))
            case ["kubectl", "scale", target, count]:
                kind, name = target.split("/")
                self._patch(f"{WHERE[kind]}/{name}", {"spec": {"replicas": int(count.removeprefix("--replicas="))}})
            case ["kubectl", "label", kind, name, label]:
                key, value = label.split("=")
                self._patch(f"{WHERE[kind]}/{name}", {"metadata": {"labels": {key: value}}})
            case ["kubectl", "patch", kind, name, "--type", "merge", "-p", change]:
                self._patch(f"{WHERE[kind]}/{name}", json.loads(change))
            case ["kubectl", "delete", kinds, *names] if not any(name.startswith("-") for name in names):
                for kind, name in itertools.product(kinds.split(","), names):
                    self.cluster.request("DELETE", f"{WHERE[kind]}/{name}")
            case ["kubectl", *_]:
                return self._kubectl(shlex.split(line, comments=True)[1:])
            case _:
                raise NotImplementedError(line)
        return None

    def _kubectl(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        """The real one, which takes a while to be built where no test of a node has run."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig())}
        command = [str(binary("kubectl")), *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{shlex.join(arguments)}: {done.stderr}")
        return done

    def _path(self, word: str) -> str | Path:
        if word.startswith("chart/"):
            return CHECKOUT / word
        return self._folder / word if word.endswith(".yaml") else word

    def _apply(self, path: str | Path) -> None:
        for file in sorted(Path(path).glob("*.yaml")):
            definition: dict[str, Any] = yaml.safe_load(file.read_text())
            target = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
            self.cluster.request("PATCH", f"{target}?fieldManager=kubectl&force=true", definition, APPLY)

    def _patch(self, path: str, change: dict[str, Any]) -> None:
        self.cluster.request("PATCH", path, change, MERGE)

    def _btpctl(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig()), "PYTHONPATH": str(CHECKOUT)}
        command = [sys.executable, "-m", "btpctl", *arguments]
        done = subprocess.run(
            command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        return done


class Terminal:
    """A person's, with a real shell: kubectl and btpctl with an administrator's rights, and Temporal's command line."""

    def __init__(self, cluster: ControlPlane, temporal: str, folder: Path) -> None:
        programs = folder / "programs"
        programs.mkdir()
        for name, program in (
            ("kubectl", [str(binary("kubectl"))]),
            ("temporal", [str(CLI)]),
            ("btpctl", [sys.executable, "-m", "btpctl"]),
        ):
            file = programs / name
            file.write_text(f'#!/bin/sh\nexec {shlex.join(program)} "$@"\n')
            file.chmod(0o755)
        self._variables = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KUBECONFIG": str(cluster.kubeconfig()),
            "TEMPORAL_ADDRESS": temporal,
        }

    def run(self, *lines: str, status: int = 0, answer: str = "y") -> str:
        """Run lines of a page, one after the other, in one shell; a question is answered. Returns what was shown."""
        command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
        ended, shown = at_terminal(command, self._variables, answer, columns=200)
        shown = re.sub(r"\x1b\[[\d;]*m", "", shown)
        assert ended == status, f"{lines} ended with {ended}: {shown}"
        return shown
