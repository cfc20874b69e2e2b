"""`make test-oldest`: the story against the oldest Kubernetes and Temporal that docs/limits.md names. Not part of CI.

Their servers are built once, from their Go modules, into a folder of the cache; what is not built there is today's.
Arguments are given to pytest.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from localcluster.binaries import CONTROL_PLANE, STRIPPED, go
from localcluster.controlplane import CHECKOUT

KUBERNETES: Final = "1.30.14"
TEMPORAL: Final = "1.25.1"
TESTS: Final = ("tests/e2e/test_story.py", "tests/e2e/test_least_privilege.py", "tests/e2e/test_postgresql.py")
NUMBERS: Final = (("gitVersion", f"v{KUBERNETES}"), ("gitMajor", "1"), ("gitMinor", KUBERNETES.split(".")[1]))
KUBERNETES_FLAGS: Final = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in NUMBERS)
PROGRAMS: Final = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "temporal-server": "go.temporal.io/server/cmd/server",
    "temporal-sql-tool": "go.temporal.io/server/cmd/tools/sql",
}


def ensure() -> Path:
    """The folder with these servers.

    Raises:
        RuntimeError: one cannot be built.
    """
    folder = CONTROL_PLANE.cache().parent / f"oldest-{KUBERNETES}-{TEMPORAL}"
    folder.mkdir(parents=True, exist_ok=True)
    for module, version in (("k8s.io/kubernetes", KUBERNETES), ("go.temporal.io/server", TEMPORAL)):
        wanted = {name: path for name, path in PROGRAMS.items() if path.startswith(module)}
        if any(not (folder / name).is_file() for name in wanted):
            with tempfile.TemporaryDirectory() as scratch:
                _build(Path(scratch), module, version, wanted, folder)
    return folder


def _build(scratch: Path, module: str, version: str, programs: dict[str, str], folder: Path) -> None:
    (scratch / "go.mod").write_text(f"module oldest\n\ngo 1.26.0\n\n{_replaced(scratch, module, version)}")
    _go(scratch, "get", f"{module}@v{version}")
    for name, path in programs.items():
        print(f"building {name} {version} (once) ...", file=sys.stderr, flush=True)
        tags = ("-tags", "providerless")  # clouds that were in Kubernetes' own code then
        _go(
            scratch,
            "build",
            "-trimpath",
            *tags,
            "-ldflags",
            f"{STRIPPED} {KUBERNETES_FLAGS}",
            "-o",
            str(folder / name),
            path,
        )


def _replaced(scratch: Path, module: str, version: str) -> str:
    """Kubernetes' module has its parts beside itself in one repository; elsewhere they have versions of their own."""
    known = json.loads(_go(scratch.parent, "mod", "download", "-json", f"{module}@v{version}"))
    parts = re.findall(r"^\s*(k8s\.io/\S+) => \./staging/", Path(known["GoMod"]).read_text(), re.MULTILINE)
    lines = [f"\t{part} => {part} v0{version.removeprefix('1')}\n" for part in parts]
    return f"replace (\n{''.join(lines)})\n" if lines else ""


def _go(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
    done = subprocess.run([*go(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"go {' '.join(arguments[:2])}: {done.stderr[-2000:]}")
    return done.stdout


def main(arguments: list[str]) -> int:
    assets = ensure()
    command = [sys.executable, "-m", "pytest", "-n0", "-m", "not load", *(arguments or TESTS)]
    return subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, "KUBEBUILDER_ASSETS": str(assets)}, check=False
    ).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(str(error))
