"""The comparison with a newer chart of the operand names what differs, and nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from localcluster.controlplane import CHECKOUT
from tests.conftest import OPERAND_CHART

INSTANCES = "CustomResourceDefinition serviceinstances.services.cloud.sap.com"
SPEC = "spec.versions.v1.schema.openAPIV3Schema.properties.spec"


def compared(chart: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localcluster.upstream", str(chart)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of our chart, whose schema refuses nothing new."""
    chart = tmp_path / "newer"
    shutil.copytree(OPERAND_CHART, chart)
    (chart / "values.schema.json").unlink()
    return chart


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def test_nothing_differs_from_itself_however_it_is_described_and_ordered(newer: Path) -> None:
    crd = newer / "crds" / "serviceinstances.yaml"
    edit(crd, "A service instance in SAP BTP.", "Something else.")
    obj = yaml.safe_load(crd.read_text())
    obj["spec"]["versions"].reverse()
    crd.write_text(yaml.safe_dump(obj))
    edit(newer / "templates" / "rbac.yaml", "verbs: [create, get, list, update]", "verbs: [update, list, get, create]")
    done = compared(newer)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_kinds_fields_rights_schemas_and_values_that_differ_are_named(newer: Path) -> None:
    templates = newer / "templates"
    edit(templates / "rbac.yaml", "resources: [events, secrets]", "resources: [events, secrets, pods]")
    edit(templates / "deployment.yaml", "containerPort: 9443", "containerPort: 9444")
    edit(newer / "crds" / "serviceinstances.yaml", "dataCenter:\n", "region:\n")
    edit(newer / "values.yaml", "manager:\n", "manager:\n  poll_interval: 10s\n")
    (templates / "serviceaccount.yaml").unlink()
    (templates / "job.yaml").write_text("apiVersion: batch/v1\nkind: Job\nmetadata: {name: pre-delete}\n")
    done = compared(newer)
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    container = "Deployment sap-btp-operator-controller-manager: spec.template.spec.containers.manager"
    assert {line for line in lines if "right" in line} == {
        f"ClusterRole sap-btp-operator-manager-role: right to {verb} pods: ours nothing, theirs granted"
        for verb in ("create", "delete", "get", "list", "patch", "update", "watch")
    }
    assert set(lines) > {
        f"{container}.ports.webhook-server.containerPort: ours 9443, theirs 9444",
        f"{INSTANCES}: {SPEC}.properties.dataCenter.type: ours string, theirs nothing",
        f"{INSTANCES}: {SPEC}.properties.region.type: ours nothing, theirs string",
        "Job pre-delete: only in theirs",
        "ServiceAccount sap-btp-operator: only in ours",
        "value manager.poll_interval: only in theirs",
    }
    assert len(lines) == 7 + 6


def test_a_chart_that_does_not_render_is_one_sentence(newer: Path) -> None:
    edit(newer / "templates" / "services.yaml", "kind: Service", "kind: {{ fail `no` }}")
    done = compared(newer)
    assert done.returncode == 2 and "does not render" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_schemas_are_as_strict_as_those_of_the_operands_release() -> None:
    for kind in ("serviceinstances", "servicebindings"):
        versions = yaml.safe_load((OPERAND_CHART / "crds" / f"{kind}.yaml").read_text())["spec"]["versions"]
        for version in versions:
            properties = version["schema"]["openAPIV3Schema"]["properties"]
            spec, status = properties["spec"]["properties"], properties["status"]["properties"]
            sources = spec["parametersFrom"]["items"].get("required")
            assert sources == (["secretKeyRef"] if version["name"] == "v1" else None)
            assert spec["userInfo"]["properties"]["groups"]["x-kubernetes-list-type"] == "atomic"
            assert status["conditions"]["items"]["properties"]["type"]["pattern"]
