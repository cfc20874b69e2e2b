"""What a user sets of the operand's chart, from a file to the rendered objects, by the real Helm."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.client import CREDENTIALS
from localcluster.controlplane import CHECKOUT
from models.names import OPERAND_CA_CERTIFICATES, OPERAND_DEPLOYMENT
from operand.chart_contract import broken_terms
from operand.credentials import Credentials
from operand.operand_values import read_operand_values
from operand.pki import new_serving
from operand.rendering import ChartRenderer
from runtime.operand_chart import renderer_of
from runtime.settings import WorkerSettings
from tests.chart.test_operand_chart import values
from tests.cluster import encoded
from tests.conftest import OPERAND_CHART

CA = new_serving(["example.com"], datetime.now(UTC))[1].decode()
TOLERATIONS = [{"key": "dedicated", "operator": "Exists"}]
EVERYTHING: dict[str, Any] = {
    "replica_count": 2,
    "labels": {"team": "a"},
    "annotations": {"team": "b"},
    "imagePullSecrets": [{"name": "regcred"}],
    "priorityClassName": "high",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": TOLERATIONS,
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
    "cpu_limit": 2,
    "memory_limit": "1Gi",
    "req_cpu_limit": "20m",
    "req_memory_limit": "64Mi",
    "enable_limited_cache": False,
    "customCACerts": [CA],
    "image": {"repository": "registry.example/operand", "tag": "v9"},
}


def file_of(folder: Path, manager: object, **more: object) -> str:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump({"manager": manager, **more}))
    return str(path)


def settings(folder: Path, manager: object, **more: object) -> WorkerSettings:
    return WorkerSettings(chart_path=OPERAND_CHART, operand_values=file_of(folder, manager, **more))


async def rendered(given: dict[str, Any], chart: Path = OPERAND_CHART) -> list[dict[str, Any]]:
    return await ChartRenderer(chart, given=given).render(values())


def deployment_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return next(obj for obj in objects if obj["kind"] == "Deployment")


async def test_everything_that_a_user_may_set_reaches_the_operand(tmp_path: Path) -> None:
    given = read_operand_values(file_of(tmp_path, EVERYTHING))
    objects = await rendered(given)
    assert broken_terms(objects, Credentials({"data": encoded(CREDENTIALS)}), "Zm9v", given) == []
    deployment = deployment_of(objects)
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert deployment["spec"]["replicas"] == 2 and "--enable-leader-election" in container["args"]
    assert pod["tolerations"] == TOLERATIONS and pod["imagePullSecrets"] == [{"name": "regcred"}]
    assert container["image"] == "registry.example/operand:v9"
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi"}


async def test_custom_certificates_are_in_a_folder_that_the_operand_reads_and_restart_it() -> None:
    objects = await rendered({"manager": {"customCACerts": [CA]}})
    config = next(obj for obj in objects if obj["metadata"]["name"] == OPERAND_CA_CERTIFICATES)
    template = deployment_of(objects)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    folders = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}["SSL_CERT_DIR"]
    assert config["data"]["ca-certificates.crt"] == CA
    assert mounts["ca-certificates"] in folders.split(":") and "/etc/ssl/certs" in folders.split(":")
    other = deployment_of(
        await rendered({"manager": {"customCACerts": [new_serving(["example.com"], datetime.now(UTC))[1].decode()]}})
    )
    assert template["metadata"]["annotations"] != other["spec"]["template"]["metadata"]["annotations"]
    without = deployment_of(await rendered({}))["spec"]["template"]
    assert "SSL_CERT_DIR" not in str(without) and "ca-certificates" not in str(without)


async def test_values_that_only_yaml_knows_are_texts_and_nothing_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("manager: {annotations: {since: 2026-11-25}, tolerations: null}")
    given = read_operand_values(str(path))
    template = deployment_of(await rendered(given))["spec"]["template"]
    assert template["metadata"]["annotations"]["since"] == "2026-11-25" and "tolerations" not in template["spec"]
    path.write_text("manager:")
    assert read_operand_values(str(path), "pull") == {"manager": {"imagePullSecrets": [{"name": "pull"}]}}
    path.write_text("")
    assert read_operand_values(str(path)) == {}


async def test_what_the_manager_sets_wins(tmp_path: Path) -> None:
    given = {"cluster": {"id": "theirs"}, "manager": {"network_policies": {"enabled": True, "egress_ports": [8443]}}}
    renderer = ChartRenderer(OPERAND_CHART, image="registry.example/ours:1", given=given)
    objects = await renderer.render(values(network_policies={"enabled": False}))
    assert not [obj for obj in objects if obj["kind"] == "NetworkPolicy"]
    (config,) = [obj for obj in objects if obj["kind"] == "ConfigMap"]
    assert config["data"]["CLUSTER_ID"] == CREDENTIALS["cluster_id"]
    assert deployment_of(objects)["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/ours:1"


@pytest.mark.parametrize("variable", ["BTP_OPERAND_PULL_SECRET", "SKR_IMG_PULL_SECRET"])
async def test_a_pull_secret_comes_from_either_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    monkeypatch.setenv(variable, "skr-pull")
    renderer = await renderer_of(settings(tmp_path, {"imagePullSecrets": [{"name": "regcred"}]}))
    pod = deployment_of(await renderer.render(values()))["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "regcred"}, {"name": "skr-pull"}]


BAD = [
    ({"cluster": {"id": "x"}}, "cluster cannot be set here: it comes from Secret sap-btp-manager"),
    ({"manager": {"secret": {"data": {}}}}, "manager.secret.data cannot be set here"),
    ({"manager": {"webhook": {"caBundle": ""}}}, "manager.webhook cannot be set here"),
    ({"manager": {"rbac": True}}, "is the setting BTP_OPERAND_RBAC"),
    ({"manager": {"tolerance": []}}, "'tolerance'"),
    ({"manager": {"allow_cluster_access": False}}, "'allow_cluster_access'"),
    ({"manager": {"tolerations": "all"}}, "tolerations"),
    ({"manager": {"labels": {"control-plane": "mine"}}}, "control-plane"),
    ({"manager": {"customCACerts": ["-----BEGIN CERTIFICATE-----\nx"]}}, "customCACerts[0] holds no certificates in"),
    ({"manager": {"customCACerts": CA}}, "manager.customCACerts is no list"),
    ({"manager": []}, "manager is a list, not a map"),
]


@pytest.mark.parametrize(("content", "says"), BAD, ids=[says for _, says in BAD])
async def test_a_wrong_value_is_one_sentence_that_names_it(
    tmp_path: Path, content: dict[str, object], says: str
) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"^BTP_OPERAND_VALUES: ") as error:
        await renderer_of(WorkerSettings(chart_path=OPERAND_CHART, operand_values=str(path)))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_worker_ends_with_status_2_and_that_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "BTP_OPERAND_VALUES": file_of(tmp_path, {"tolerance": []}), "BTP_LOG_FORMAT": "json"}
    worker = [sys.executable, "-m", "worker"]
    done = subprocess.run(
        worker, env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
    assert "BTP_OPERAND_VALUES: " in done.stdout + done.stderr and "tolerance" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [", "is no YAML, line 1"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"a: &a [1]\nb: [*a, *a]", "uses aliases of YAML"),
        (b"[1]", "holds a list, not a map of values"),
        (b"# " + b"x" * 1024 * 1024, "is larger than 1024 KiB"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "values.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^BTP_OPERAND_VALUES: .*values\.yaml") as error:
        read_operand_values(str(path))
    assert says in str(error.value)


LOST = [
    ("deployment.yaml", "with $manager.tolerations", "with list", "manager.tolerations as spec.template.spec.tolerat"),
    ("deployment.yaml", "with $manager.imagePullSecrets", "with list", "manager.imagePullSecrets"),
    ("deployment.yaml", "$manager.memory_limit", '"1Mi"', "manager.memory_limit"),
    (
        "deployment.yaml",
        "name: sap-btp-operator-ca-certificates",
        "name: other",
        "does not mount manager.customCACerts",
    ),
    ("configmap.yaml", ".Values.manager.enable_limited_cache", '"true"', "manager.enable_limited_cache"),
    ("_helpers.tpl", "{{ $image.repository }}:", "elsewhere:", "does not run manager.image.repository"),
]


@pytest.mark.parametrize(("file", "ours", "theirs", "says"), LOST, ids=[says for *_, says in LOST])
async def test_a_chart_that_loses_a_value_is_found_out(
    tmp_path: Path, file: str, ours: str, theirs: str, says: str
) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    template = chart / "templates" / file
    assert ours in template.read_text()
    template.write_text(template.read_text().replace(ours, theirs))
    given = {"manager": EVERYTHING}
    (broken,) = broken_terms(await rendered(given, chart), Credentials({"data": encoded(CREDENTIALS)}), "Zm9v", given)
    assert says in broken and (OPERAND_DEPLOYMENT in broken or "ConfigMap" in broken)
