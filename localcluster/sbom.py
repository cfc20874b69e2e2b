"""Lists what is in the image as a CycloneDX document, read from its OCI archive without a container engine.

Debian's packages come from dpkg's list, Python packages from their metadata, Helm's Go modules from what the compiler
wrote into the binary: what the files say, and not what a lock file promised.
"""

import email
import json
import posixpath
import re
import subprocess
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

from localcluster.binaries import go

DPKG: Final = "var/lib/dpkg/status"
SYSTEM: Final = "usr/lib/os-release"
HELM: Final = "usr/local/bin/helm"
PYTHON_METADATA: Final = re.compile(r".+\.dist-info/METADATA")
WHITEOUT: Final = ".wh."
"""Begins the name of an entry that removes what an earlier layer has."""

Component = dict[str, Any]


def sbom(archive: Path, name: str) -> dict[str, Any]:
    """The document of the image in that OCI archive, which is called `name` with a tag.

    Raises:
        ValueError: the archive has no image, or the image has no list of its packages or no Helm.
    """
    with tarfile.open(archive) as outer:
        digest, manifest = _manifest(outer)
        config = json.loads(_blob(outer, manifest["config"]["digest"]).read())
        files = _files(outer, manifest)
    if lacking := [path for path in (DPKG, HELM) if path not in files]:
        raise ValueError(f"the image lacks {', '.join(lacking)}: nobody can say what is in it")
    found = [*_base(config), *_debian(files), *_python(files), *_go(files[HELM])]
    repository, _, tag = name.rpartition(":")
    image = (
        f"pkg:oci/{repository.rpartition('/')[2].lower()}@{quote(digest)}?repository_url={quote(repository, safe='')}"
    )
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": re.sub(r"\.\d+", "", config["created"]),
            "component": {"type": "container", "bom-ref": image, "name": repository, "version": tag, "purl": image},
        },
        "components": [each for _, each in sorted({each["bom-ref"]: each for each in found}.items())],
    }


def _blob(outer: tarfile.TarFile, digest: str) -> IO[bytes]:
    file = outer.extractfile(f"blobs/{digest.replace(':', '/')}")
    assert file, digest
    return file


def _manifest(outer: tarfile.TarFile) -> tuple[str, dict[str, Any]]:
    """The image's manifest and its digest; an index may stand before it."""
    file = outer.extractfile("index.json")
    assert file
    document, digest = json.load(file), ""
    while "manifests" in document:
        images = [
            each for each in document["manifests"] if "vnd.docker.reference.type" not in each.get("annotations", {})
        ]
        if not images:
            raise ValueError("the archive has no image")
        digest = images[0]["digest"]
        document = json.loads(_blob(outer, digest).read())
    return digest, document


def _files(outer: tarfile.TarFile, manifest: dict[str, Any]) -> dict[str, bytes]:
    """What the image has of the files that name packages, after all layers."""
    files: dict[str, bytes] = {}
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=_blob(outer, layer["digest"])) as inner:
            for member in inner:
                path = posixpath.normpath(member.name).lstrip("/")
                folder, base = posixpath.split(path)
                if base.startswith(WHITEOUT):
                    gone = folder if base == ".wh..wh..opq" else posixpath.join(folder, base.removeprefix(WHITEOUT))
                    files = {at: text for at, text in files.items() if at != gone and not at.startswith(f"{gone}/")}
                elif (path in (DPKG, SYSTEM, HELM) or PYTHON_METADATA.fullmatch(path)) and member.isfile():
                    content = inner.extractfile(member)
                    assert content
                    files[path] = content.read()
    return files


def _component(kind: str, name: str, version: str, purl: str, licence: str = "") -> Component:
    return {
        "type": kind,
        "bom-ref": purl,
        "name": name,
        "version": version,
        **({"licenses": [{"expression": licence}]} if licence else {}),
        "purl": purl,
    }


def _base(config: dict[str, Any]) -> Iterator[Component]:
    """The Python that the official image has compiled, which dpkg does not know."""
    for variable in config["config"].get("Env") or []:
        key, _, version = variable.partition("=")
        if key == "PYTHON_VERSION":
            yield _component("application", "python", version, f"pkg:generic/python@{version}")


def _debian(files: dict[str, bytes]) -> Iterator[Component]:
    system = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]+)', files.get(SYSTEM, b"").decode(), re.MULTILINE))
    vendor = system.get("ID", "debian")
    distribution = f"&distro={vendor}-{system['VERSION_ID']}" if "VERSION_ID" in system else ""
    for stanza in files[DPKG].decode().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version|Architecture): (.+)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/{vendor}/{quote(name)}@{quote(version, safe=':')}?arch={architecture}{distribution}"
            yield _component("library", name, version, purl)


def _python(files: dict[str, bytes]) -> Iterator[Component]:
    for path, text in files.items():
        if PYTHON_METADATA.fullmatch(path):
            headers = email.message_from_bytes(text)
            name, version = headers["Name"], headers["Version"]
            purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version)}"
            yield _component("library", name, version, purl, headers["License-Expression"] or "")


def _go(binary: bytes) -> Iterator[Component]:
    """The modules of a program, and the standard library of the compiler that built it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(binary)
        file.flush()
        command = [*go(), "version", "-m", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    if not lines or len(lines) == 1:
        raise ValueError(f"/{HELM} does not say which Go modules it is made of: {done.stderr.strip()}")
    compiler = lines[0][0].rpartition(" go")[2]
    yield _component("library", "stdlib", compiler, f"pkg:golang/stdlib@{compiler}")
    modules: list[tuple[str, str]] = []
    for _, what, name, version, *_ in (line for line in lines[1:] if len(line) > 3):
        if what in ("mod", "dep") and version != "(devel)":
            modules.append((name, version))
        elif what == "=>":  # stands in for the one above
            modules[-1] = (name, version)
    for name, version in modules:
        yield _component("library", name, version, f"pkg:golang/{quote(name.lower())}@{quote(version)}")
