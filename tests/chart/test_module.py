"""What Kyma's lifecycle-manager is given: complete, without anything that only Helm understands."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.controlplane import CHECKOUT
from localcluster.module import LABEL, write

BASE = "https://example.com/release"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    write(folder, BASE, ["--set", "image.repository=registry.example/btp-manager,busola=true"])
    return folder


def read(folder: Path, name: str) -> list[Any]:
    return [obj for obj in yaml.safe_load_all((folder / name).read_text()) if obj]


def test_the_manifest_is_whole_labelled_and_needs_no_helm(folder: Path) -> None:
    objects = read(folder, "manifest.yaml")
    named = {(obj["kind"], obj["metadata"]["name"]) for obj in objects}
    assert named > {
        ("CustomResourceDefinition", "btpoperators.operator.kyma-project.io"),
        ("Deployment", "btp-manager-worker"),
        ("Deployment", "btp-manager-trigger"),
        ("ValidatingAdmissionPolicy", "btp-manager-worker"),
        ("Service", "btp-manager-metrics"),
        ("ConfigMap", "btp-manager-busola"),
    }
    assert all(obj["metadata"]["labels"].items() >= LABEL.items() for obj in objects)
    assert "helm.sh/hook" not in str(objects)
    images = {c["image"] for obj in objects if obj["kind"] == "Deployment" for c in _containers(obj)}
    assert {image.partition(":")[0] for image in images} == {"registry.example/btp-manager"}


def test_no_pod_carries_the_label_by_which_the_operands_network_policies_select(folder: Path) -> None:
    deployments = [obj for obj in read(folder, "manifest.yaml") if obj["kind"] == "Deployment"]
    assert deployments and not any(
        LABEL.keys() & obj["spec"]["template"]["metadata"]["labels"].keys() for obj in deployments
    )


def test_the_file_of_modulectl_names_what_is_there(folder: Path) -> None:
    (config,), objects = read(folder, "module-config.yaml"), read(folder, "manifest.yaml")
    for link in (config["manifest"], config["defaultCR"], config["icons"][0]["link"]):
        assert (folder / link.removeprefix(f"{BASE}/")).is_file()
    manager = config["manager"]
    assert [obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == (manager["kind"], manager["name"])]
    assert config["version"] == yaml.safe_load((CHECKOUT / "chart/btp-manager/Chart.yaml").read_text())["version"]
    (resource,) = read(folder, "default-cr.yaml")
    assert (resource["kind"], resource["metadata"]["name"]) == ("BtpOperator", "btpoperator")


def test_the_page_of_the_dashboard_is_yaml_about_fields_that_there_are(folder: Path) -> None:
    objects = read(folder, "manifest.yaml")
    (page,) = [obj for obj in objects if obj["metadata"]["name"] == "btp-manager-busola"]
    assert page["metadata"]["labels"]["busola.io/extension"] == "resource"
    parts = {name: yaml.safe_load(text) for name, text in page["data"].items()}
    assert set(parts) == {"general", "list", "details"}
    (crd,) = [obj for obj in objects if obj["kind"] == "CustomResourceDefinition"]
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    states = set(status["state"]["enum"])
    for badge in (parts["list"][0], parts["details"]["header"][0]):
        assert {state for group in badge["highlights"].values() for state in group} == states
    sources = [each["source"] for each in [*parts["list"], *parts["details"]["body"]] if "source" in each]
    assert {source.removeprefix("status.").partition("[")[0] for source in sources} <= set(status)


def _containers(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    containers: list[dict[str, Any]] = deployment["spec"]["template"]["spec"]["containers"]
    return containers
