"""Values of the operand's chart that are set in the manager's chart: refused early, or brought to the worker."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.shipped import RELEASE
from operand.operand_values import read_operand_values
from tests.chart.test_operand_values import EVERYTHING
from tests.e2e.test_manager_chart import only, template

POLICIES = "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"


def with_operand(manager: dict[str, Any]) -> list[dict[str, Any]]:
    return template(f"operand={json.dumps({'manager': manager})}", api=POLICIES)


def pod_of(objects: list[dict[str, Any]], process: str) -> dict[str, Any]:
    found: dict[str, Any] = only(objects, "Deployment", f"{RELEASE}-{process}")["spec"]["template"]
    return found


def test_they_reach_the_worker_as_they_were_given(tmp_path: Path) -> None:
    objects = with_operand(EVERYTHING)
    config = only(objects, "ConfigMap", f"{RELEASE}-operand-values")
    spec = pod_of(objects, "worker")["spec"]
    (container,) = spec["containers"]
    named = {entry["name"]: entry.get("value") for entry in container["env"]}["BTP_OPERAND_VALUES"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    folder, _, file = str(named).rpartition("/")
    assert mounts["operand-values"] == folder
    assert volumes["operand-values"]["configMap"]["name"] == config["metadata"]["name"]
    (tmp_path / file).write_text(config["data"][file])
    assert read_operand_values(str(tmp_path / file)) == {"manager": EVERYTHING}


def test_a_changed_value_restarts_the_workers_alone() -> None:
    before, after = with_operand({"replica_count": 1}), with_operand({"replica_count": 2})
    assert pod_of(before, "worker") != pod_of(after, "worker")
    assert pod_of(before, "trigger") == pod_of(after, "trigger")


def test_without_any_nothing_of_it_is_there() -> None:
    objects = template()
    assert "operand-values" not in yaml.safe_dump_all(objects) and "BTP_OPERAND_VALUES" not in str(objects)


def test_the_operands_image_may_run_where_a_policy_bounds_it() -> None:
    objects = with_operand({"image": {"repository": "registry.example/mirror"}})
    policy = only(objects, "ValidatingAdmissionPolicy", f"{RELEASE}-worker")
    assert '"registry.example/mirror"' in str(policy["spec"]["validations"])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"cluster": {"id": "x"}}, "cluster"),
        ({"manager": {"tolerance": []}}, "tolerance"),
        ({"manager": {"allow_cluster_access": False}}, "allow_cluster_access"),
        ({"manager": {"secret": {"data": {"clientid": "eA=="}}}}, "data"),
        ({"manager": {"webhook": {"caBundle": "eA=="}}}, "webhook"),
        ({"manager": {"rbac": True}}, "rbac"),
        ({"manager": {"replica_count": 0}}, "replica_count"),
    ],
)
def test_helm_refuses_what_cannot_be_set_and_names_it(value: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        template(f"operand={json.dumps(value)}")


def test_a_payload_key_among_the_settings_is_refused_for_it_would_stand_in_the_deployment() -> None:
    with pytest.raises(ValueError, match="'BTP_PAYLOAD_KEY' not allowed"):
        template('settings={"BTP_PAYLOAD_KEY": "0123456789abcdef"}')
