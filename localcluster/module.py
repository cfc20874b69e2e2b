"""Writes a module for Kyma's lifecycle-manager: one manifest, the CR that comes with it, and `modulectl`'s file.

`make module`: the manifest is `chart/btp-manager`, rendered with the CRD and without Helm's hooks, which nobody would
run. The addresses in module-config.yaml are for whoever publishes the files.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from models.names import API_GROUP, API_VERSION, KIND, KYMA_NAMESPACE

CHART: Final = CHECKOUT / "chart" / "btp-manager"
ICON: Final = CHART / "icon.svg"
DEFAULT_CR: Final = CHECKOUT / "docs" / "btpoperator.yaml"
RELEASE: Final = "btp-manager"
LABEL: Final = {"kyma-project.io/module": "btp-operator"}
APIS: Final = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"
"""What the clusters that the manifest is for have: Kubernetes 1.30 or later."""


def rendered(flags: list[str]) -> list[dict[str, Any]]:
    """The CRD and every object of the chart that needs no Helm; `flags` as `helm template` takes them.

    Raises:
        ValueError: Helm refuses the values, in its own words.
    """
    command = [str(binary("helm")), "template", RELEASE, str(CHART), "--namespace", KYMA_NAMESPACE, "--include-crds"]
    command += ["--no-hooks", "--skip-tests", "--api-versions", APIS, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ValueError(" ".join(done.stderr.split()))
    return [obj for obj in yaml.safe_load_all(done.stdout) if obj]


def manifest(flags: list[str]) -> list[dict[str, Any]]:
    """The same, each object with the module's label."""
    objects = rendered(flags)
    for obj in objects:
        obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **LABEL}
    return objects


def module_config(version: str, base: str) -> dict[str, Any]:
    """The file that `modulectl create --config-file` reads; `base` is where the other files will be."""
    return {
        "name": "kyma-project.io/module/btp-operator",
        "version": version,
        "manifest": f"{base}/manifest.yaml",
        "defaultCR": f"{base}/default-cr.yaml",
        "repository": base,
        "documentation": f"{base}/docs/install.md",
        "icons": [{"name": "module-icon", "link": f"{base}/{ICON.name}"}],
        "manager": {
            "group": "apps",
            "version": "v1",
            "kind": "Deployment",
            "name": f"{RELEASE}-worker",
            "namespace": KYMA_NAMESPACE,
        },
        "associatedResources": [
            {"group": API_GROUP, "version": API_VERSION, "kind": KIND},
            {"group": "services.cloud.sap.com", "version": "v1", "kind": "ServiceInstance"},
            {"group": "services.cloud.sap.com", "version": "v1", "kind": "ServiceBinding"},
        ],
    }


def write(folder: Path, base: str, flags: list[str]) -> None:
    """All three files, and the icon that the last one names."""
    objects = manifest(flags)
    version = str(yaml.safe_load((CHART / "Chart.yaml").read_text())["version"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.yaml").write_text(yaml.safe_dump_all(objects, sort_keys=False))
    (folder / "default-cr.yaml").write_text(DEFAULT_CR.read_text())
    (folder / ICON.name).write_text(ICON.read_text())
    (folder / "module-config.yaml").write_text(yaml.safe_dump(module_config(version, base), sort_keys=False))


def main() -> int:
    """Write, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "module", help="the folder to write into")
    parser.add_argument("--base", default="https://example.com/btp-manager", help="where the files will be published")
    arguments, flags = parser.parse_known_args()
    try:
        write(arguments.out, arguments.base.rstrip("/"), flags)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written: {', '.join(str(path) for path in sorted(arguments.out.iterdir()))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
