"""The list of what is in the image says what its layers have, in a form that other tools read."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from localcluster.binaries import binary
from localcluster.sbom import sbom

NAME = "registry.example/team/btp-manager:0.1.0"
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.20-1~deb12u1+b2

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 1:2026a-0
Description: long
 Package: not-one
"""
TEMPORAL = "Metadata-Version: 2.4\nName: Temporal_io\nVersion: 1.35.0\nLicense-Expression: MIT\n\nName: no header\n"


def archive(path: Path, *layers: dict[str, bytes], index: bool = False) -> Path:
    """An OCI archive with these layers, as buildah writes it; with `index`, as docker does."""
    blobs: dict[str, bytes] = {}

    def put(content: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content), **more}

    def layer(files: dict[str, bytes]) -> dict[str, Any]:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as inner:
            for name, text in files.items():
                inner.addfile(_entry(name, text), io.BytesIO(text))
        return put(gzip.compress(content.getvalue()) if index else content.getvalue())

    config = put(
        json.dumps({"created": "2026-01-31T10:00:00.123Z", "config": {"Env": ["PYTHON_VERSION=3.13.9"]}}).encode()
    )
    image = put(json.dumps({"config": config, "layers": [layer(files) for files in layers]}).encode())
    if index:
        attestation = put(b"{}", annotations={"vnd.docker.reference.type": "attestation-manifest"})
        image = put(json.dumps({"manifests": [attestation, image]}).encode())
    blobs["index.json"] = json.dumps({"manifests": [image]}).encode()
    with tarfile.open(path, "w") as outer:
        for name, content in blobs.items():
            outer.addfile(_entry(name, content), io.BytesIO(content))
    return path


def _entry(name: str, content: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    return entry


def metadata(name: str, version: str) -> bytes:
    return f"Name: {name}\nVersion: {version}\n".encode()


BASE = {
    "./var/lib/dpkg/status": STATUS.encode(),
    "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n',
    "usr/local/lib/python3.13/site-packages/pip-25.0.dist-info/METADATA": metadata("pip", "25.0"),
    "venv/lib/old-1.dist-info/METADATA": metadata("old", "1"),
    "opt/all/hidden-1.dist-info/METADATA": metadata("hidden", "1"),
}
OURS = {
    "venv/lib/temporalio-1.35.0.dist-info/METADATA": TEMPORAL.encode(),
    "venv/lib/.wh.old-1.dist-info": b"",
    "opt/all/.wh..wh..opq": b"",
}


@pytest.mark.parametrize("index", [False, True])
def test_it_names_what_every_part_of_the_image_says_of_itself(tmp_path: Path, index: bool) -> None:
    helm = {"usr/local/bin/helm": binary("helm").read_bytes()}
    document = sbom(archive(tmp_path / "image.tar", BASE, helm, OURS, index=index), NAME)
    purls = {component["purl"] for component in document["components"]}
    assert {purl for purl in purls if not purl.startswith("pkg:golang/")} == {
        "pkg:generic/python@3.13.9",
        "pkg:deb/debian/libssl3@3.0.20-1~deb12u1%2Bb2?arch=amd64&distro=debian-12",
        "pkg:deb/debian/tzdata@1:2026a-0?arch=all&distro=debian-12",
        "pkg:pypi/pip@25.0",
        "pkg:pypi/temporal-io@1.35.0",
    }
    modules = {purl.rpartition("@")[0] for purl in purls if purl.startswith("pkg:golang/")}
    assert {"pkg:golang/helm.sh/helm/v4", "pkg:golang/k8s.io/client-go", "pkg:golang/stdlib"} <= modules
    (temporal,) = [each for each in document["components"] if each["name"] == "Temporal_io"]
    assert temporal["licenses"] == [{"expression": "MIT"}]
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(document)) is None


def test_it_is_the_same_each_time_and_belongs_to_one_image(tmp_path: Path) -> None:
    helm = {"usr/local/bin/helm": binary("helm").read_bytes()}
    first, again, other = (
        sbom(archive(tmp_path / "image.tar", *layers), NAME)
        for layers in ((BASE, helm), (BASE, helm), (BASE, helm, OURS))
    )
    assert first == again and first["serialNumber"] != other["serialNumber"]
    assert first["metadata"]["component"]["purl"].startswith("pkg:oci/btp-manager@sha256%3A")


def test_an_image_that_does_not_say_what_it_has_gets_no_list(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks usr/local/bin/helm"):
        sbom(archive(tmp_path / "image.tar", BASE), NAME)
    with pytest.raises(ValueError, match="does not say which Go modules"):
        sbom(archive(tmp_path / "image.tar", BASE, {"usr/local/bin/helm": b"#!/bin/sh\n"}), NAME)
