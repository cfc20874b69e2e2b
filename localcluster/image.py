"""`make image`: builds the image with the engine that is there, weighs it, and looks for what must not be in it.

Where the base images cannot be pulled, stand-ins are made: Debian's own Python by debootstrap, and with it the Go
toolchain of this machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from localcluster.binaries import go
from localcluster.controlplane import CHECKOUT

TAG: Final = "btp-manager:local"
BASES: Final = dict(re.findall(r"^ARG (\w+)_IMAGE=(\S+)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE))
PYTHON_IMAGE: Final[str] = BASES["PYTHON"]
GO_IMAGE: Final[str] = BASES["GO"]
SUITE: Final = "bookworm"
STAND_IN: Final = f"localhost/btp-manager-python:{SUITE}"
GO_STAND_IN: Final = f"localhost/btp-manager-go:{SUITE}"
PACKAGES: Final = "ca-certificates,python3,python3-venv,python-is-python3"
AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
OWN: Final = ("/venv", "/app", "/usr/local/bin/helm")
"""What the Dockerfile adds to its base image."""
LARGEST: Final = 200_000_000
"""Bytes of all that."""
WEIGH: Final = f"""
import json, os, subprocess, sys, time
def size(top):
    if os.path.isfile(top):
        return os.lstat(top).st_size
    return sum(os.lstat(os.path.join(at, name)).st_size for at, _, files in os.walk(top) for name in files)
def start(module):
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {{module}}.__main__"], check=True)
    return round(time.monotonic() - began, 2)
base = [f"/{{name}}" for name in os.listdir("/") if name not in ("proc", "sys", "dev", "tmp", "run")]
writable = [
    path for top in base for at, folders, files in os.walk(top) for path in [at, *(os.path.join(at, f) for f in files)]
    if not os.path.islink(path) and os.access(path, os.W_OK) and path != "/var/tmp" and path != "/var/lock"
]
own = {{path: size(path) for path in {OWN!r}}}
print(json.dumps({{
    "own": own, "all": sum(map(size, base)), "writable": writable,
    "start": {{module: start(module) for module in ("worker", "trigger", "btpctl")}},
    "tools": [name for name in ("uv", "go", "gcc") if any(
        os.path.exists(f"{{folder}}/{{name}}") for folder in os.environ["PATH"].split(":"))],
}}))
"""
"""Runs in the image, as its user. Start-up is the time until a process has imported everything."""


@dataclass(frozen=True)
class Engine:
    """docker, podman or buildah: one command line that builds and keeps images."""

    name: str
    program: str

    def _call(self, *arguments: str, stdin: str | None = None, quiet: bool = True) -> str:
        """Raises RuntimeError: it failed; the message is the engine's last words."""
        done = subprocess.run(
            [self.program, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        if done.returncode:
            raise RuntimeError(f"{self.name} {' '.join(arguments[:3])}: {(done.stderr or done.stdout)[-1500:].strip()}")
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether it keeps that image, pulled now if need be."""
        look = ["inspect", "--type", "image"] if self.name == "buildah" else ["image", "inspect"]
        for command in ([*look, image], ["pull", image]):
            try:
                self._call(*command)
                return True
            except RuntimeError:
                continue
        return False

    def build(self, tag: str, context: Path, file: str = "", arguments: Mapping[str, str] | None = None) -> None:
        """Build an image; `file` is the text of a Dockerfile, otherwise the context's own is used."""
        command = {"docker": ["build"], "podman": ["build"], "buildah": ["bud"]}[self.name]
        if self.name != "docker":
            command += ["--isolation", "chroot", "--layers", *_shared_go_caches()]
        command += ["--network", "host", "--tag", tag]
        for key, value in (arguments or {}).items():
            command += ["--build-arg", f"{key}={value}"]
        command += ["--file", "-" if file else str(context / "Dockerfile"), str(context)]
        self._call(*command, stdin=file or None, quiet=bool(file))

    def run(self, image: str, *command: str) -> str:
        """What a command prints in a container of that image, as the image's user."""
        if self.name != "buildah":
            return self._call("run", "--rm", "--network", "none", image, *command)
        container = self._call("from", "--pull-never", image).strip()
        try:
            return self._call("run", "--isolation", "chroot", container, "--", *command)
        finally:
            self._call("rm", container)

    def save(self, image: str, archive: Path, called: str = "") -> None:
        """Write the image into an OCI archive, a tar file that containerd, docker, podman and skopeo read.

        In the archive it is `called` so; the engine itself does not keep that name, which may be somebody else's.

        Raises:
            RuntimeError: docker is older than 25, whose archives are of another kind.
        """
        archive.unlink(missing_ok=True)
        name = called or image
        if self.name == "buildah":
            self._call("push", image, f"oci-archive:{archive}:{name}")
        else:
            form = ["--format", "oci-archive"] if self.name == "podman" else []
            if called:
                self._call("tag", image, called)
            try:
                self._call("save", *form, "--output", str(archive), name)
            finally:
                if called:
                    self._call("rmi", called)
        with tarfile.open(archive) as file:
            if "oci-layout" not in file.getnames():
                raise RuntimeError(f"{self.name} wrote no OCI archive; docker does since version 25")

    def save_for_docker(self, image: str, archive: Path) -> None:
        """Write the image into a tar file that `docker load` of every version reads."""
        if self.name == "buildah":
            self._call("push", image, f"docker-archive:{archive}:{image}")
        elif self.name == "podman":
            self._call("save", "--format", "docker-archive", "--output", str(archive), image)
        else:
            self._call("save", "--output", str(archive), image)

    def identity(self, image: str) -> str:
        """The id of that image: equal ids, equal contents."""
        if self.name == "buildah":
            return self._call("images", "--quiet", "--no-trunc", image).strip()
        return self._call("image", "inspect", "--format", "{{.Id}}", image).strip()


def find_engine() -> Engine:
    """The engine that ENGINE names, else the first that answers.

    Raises:
        RuntimeError: none answers.
    """
    asked = os.environ.get("ENGINE")
    for name in [asked] if asked else ["docker", "podman", "buildah"]:
        program = shutil.which(name)
        if program and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0:
            return Engine(name, program)
    raise RuntimeError(f"no container engine answers: {asked or 'docker (with its daemon), podman or buildah'}")


def build(engine: Engine, tag: str = TAG) -> None:
    """Build the image; build arguments are taken from the environment.

    Raises:
        RuntimeError: it cannot be built, or a base image can neither be pulled nor be made here.
    """
    arguments = {key: os.environ[key] for key in ("GOPROXY", "PYTHON_INDEX") if os.environ.get(key)}
    arguments["PYTHON_IMAGE"] = os.environ.get("PYTHON_IMAGE") or PYTHON_IMAGE
    arguments["GO_IMAGE"] = os.environ.get("GO_IMAGE") or GO_IMAGE
    if not engine.has(arguments["PYTHON_IMAGE"]):
        arguments["PYTHON_IMAGE"] = python_stand_in(engine)
    if not engine.has(arguments["GO_IMAGE"]):
        arguments["GO_IMAGE"] = _go_stand_in(engine)
    engine.build(tag, CHECKOUT, arguments=arguments)


def python_stand_in(engine: Engine) -> str:
    """An image with Debian's own Python, made by debootstrap; trusts the authorities that this machine trusts.

    Raises:
        RuntimeError: this needs root and debootstrap.
    """
    if _kept(engine, STAND_IN):
        return STAND_IN
    if os.geteuid() or not shutil.which("debootstrap"):
        raise RuntimeError(f"{PYTHON_IMAGE} cannot be pulled; to make a stand-in, be root and install debootstrap")
    _say(f"{PYTHON_IMAGE} cannot be pulled: making a stand-in from Debian's packages ...")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "root")
        mirror = [os.environ["APT_MIRROR"]] if os.environ.get("APT_MIRROR") else []
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), *mirror]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"debootstrap failed:\n{done.stdout[-1500:]}{done.stderr[-500:]}")
        shutil.rmtree(root / "var/cache/apt")
        shutil.rmtree(root / "var/lib/apt/lists")
        if Path(AUTHORITIES).is_file():
            shutil.copy(AUTHORITIES, root / AUTHORITIES.lstrip("/"))
        subprocess.run(["tar", "-C", root, "-cf", Path(scratch, "root.tar"), "."], check=True)
        shutil.rmtree(root)
        text = f"FROM scratch\nADD root.tar /\nENV SSL_CERT_FILE={AUTHORITIES} PIP_CERT={AUTHORITIES}\n"
        engine.build(STAND_IN, Path(scratch), text)
    return STAND_IN


def _go_stand_in(engine: Engine) -> str:
    """The Python stand-in with this machine's Go toolchain."""
    if not _kept(engine, GO_STAND_IN):
        _say(f"{GO_IMAGE} cannot be pulled: making a stand-in from this machine's Go ...")
        root = subprocess.run([*go(), "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
        text = f"FROM {python_stand_in(engine)}\nCOPY . /usr/local/go\nENV PATH=/usr/local/go/bin:/usr/bin:/bin\n"
        engine.build(GO_STAND_IN, Path(root), text)
    return GO_STAND_IN


def _kept(engine: Engine, image: str) -> bool:
    try:
        return bool(engine.identity(image))
    except RuntimeError:
        return False


def _shared_go_caches() -> Sequence[str]:
    """Flags that give a build the Go caches of this machine, so that Helm is compiled once and not twice."""
    names = ("GOMODCACHE", "GOCACHE")
    done = subprocess.run([*go(), "env", *names], capture_output=True, text=True, check=False)
    inside = ("/go/pkg/mod", "/go/build")  # as Dockerfile says
    return [
        part
        for here, there in zip(done.stdout.split(), inside, strict=False)
        if Path(here).is_dir()
        for part in ("--volume", f"{here}:{there}")
    ]


def weigh(engine: Engine, tag: str = TAG) -> dict[str, Any]:
    """Sizes in bytes, seconds of start-up, and files that must not be there: measured in the image, as its user."""
    weighed: dict[str, Any] = json.loads(engine.run(tag, "python", "-c", WEIGH))
    return weighed


def main() -> int:
    engine = find_engine()
    _say(f"building {TAG} with {engine.name} ...")
    began = time.monotonic()
    build(engine)
    took = time.monotonic() - began
    seen = weigh(engine)
    own = sum(seen["own"].values())
    parts = ", ".join(f"{path} {size / 1e6:.0f}" for path, size in seen["own"].items())
    print(f"built {TAG} with {engine.name} in {took:.0f} s")
    print(f"size: {seen['all'] / 1e6:.0f} MB, {own / 1e6:.0f} of them on top of the base image ({parts})")
    print("start-up: " + ", ".join(f"{module} {seconds} s" for module, seconds in seen["start"].items()))
    problems = [f"the image's user may write {path}" for path in seen["writable"]]
    problems += [f"the image has the build tool {tool}" for tool in seen["tools"]]
    problems += [f"{own} bytes on top of the base image are more than {LARGEST}"] if own > LARGEST else []
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(str(error))
