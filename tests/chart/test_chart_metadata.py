"""What Chart.yaml says about the chart, to Helm and to catalogues such as Artifact Hub, is true."""

import base64
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from localcluster.shipped import MANAGER_CHART

CHART = yaml.safe_load((MANAGER_CHART / "Chart.yaml").read_text())
OPERAND_CHART = CHECKOUT / "chart" / "sap-btp-operator"
CRD = yaml.safe_load((MANAGER_CHART / "crds" / "btpoperators.yaml").read_text())


def annotation(name: str) -> Any:
    return yaml.safe_load(CHART["annotations"][f"artifacthub.io/{name}"])


def test_helm_has_no_remark_on_the_chart() -> None:
    command = [str(binary("helm")), "lint", "--strict", str(MANAGER_CHART)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == []


def test_the_icon_is_the_file_beside_it_and_needs_no_server() -> None:
    kind, _, data = CHART["icon"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    text = base64.b64decode(data).decode()
    assert text == (MANAGER_CHART / "icon.svg").read_text(), "put `base64 -w0 icon.svg` into Chart.yaml"
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_crd_and_its_example_are_those_of_the_chart_and_of_the_pages() -> None:
    (described,) = annotation("crds")
    names, (version,) = CRD["spec"]["names"], CRD["spec"]["versions"]
    found = (described["kind"], described["version"], described["name"])
    assert found == (names["kind"], version["name"], CRD["metadata"]["name"])
    (example,), shipped = annotation("crdsExamples"), yaml.safe_load((CHECKOUT / "docs/btpoperator.yaml").read_text())
    for resource in (example, shipped):
        resource["metadata"].pop("labels", None)
    assert example == shipped


def test_the_image_is_the_one_that_the_manager_installs() -> None:
    image = yaml.safe_load((OPERAND_CHART / "values.yaml").read_text())["manager"]["image"]
    assert [each["image"] for each in annotation("images")] == [f"{image['repository']}:{image['tag']}"]


def test_what_changed_is_said_in_the_words_that_artifact_hub_knows() -> None:
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert {change["kind"] for change in annotation("changes")} <= kinds
    assert all(change["description"] for change in annotation("changes"))


@pytest.mark.parametrize("name", ["README.md", "icon.svg"])
def test_a_packaged_chart_has_what_a_catalogue_shows(name: str, tmp_path: Path) -> None:
    subprocess.run(
        [str(binary("helm")), "package", str(MANAGER_CHART), "--destination", str(tmp_path)],
        capture_output=True,
        check=True,
    )
    (package,) = tmp_path.iterdir()
    listed = subprocess.run(["tar", "--list", "--file", str(package)], capture_output=True, text=True, check=True)
    assert f"btp-manager/{name}" in listed.stdout.splitlines()
