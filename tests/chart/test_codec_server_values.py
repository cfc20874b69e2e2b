"""The codec server in the chart: off unless asked for, with the key and without any right."""

import pytest

from localcluster.shipped import RELEASE
from tests.e2e.test_manager_chart import only, template

ON = ('codecServer={"enabled": true, "origins": "https://temporal.example.com"}', 'payloadKeySecret="payload"')


def test_it_is_not_there_unless_asked_for() -> None:
    assert "codecserver" not in str(template())


def test_it_needs_the_key() -> None:
    with pytest.raises(ValueError, match=r"codecServer\.enabled needs payloadKeySecret"):
        template(ON[0])


def test_it_has_the_key_and_neither_a_token_nor_the_api_key_of_the_workers() -> None:
    objects = template(*ON, 'temporal.apiKeySecret="api-key"')
    spec = only(objects, "Deployment", f"{RELEASE}-codecserver")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    names = {entry["name"] for entry in container["env"]}
    assert {"BTP_PAYLOAD_KEY", "BTP_CODEC_ORIGINS"} <= names
    assert "api-key" not in str(spec) and not names & {"BTP_TEMPORAL_API_KEY_FILE", "BTP_INSTALLATION"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == f"{RELEASE}-codecserver"
    bound = [subject["name"] for obj in objects for subject in obj.get("subjects", [])]
    assert f"{RELEASE}-codecserver" not in bound and f"{RELEASE}-worker" in bound


def test_it_reaches_temporal_and_not_the_api_server() -> None:
    objects = template(*ON, "networkPolicy.apiServer.ports=[6443]")
    policy = only(objects, "NetworkPolicy", f"{RELEASE}-codecserver")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert 7233 in ports and 6443 not in ports
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"health", "http", "metrics"}


def test_the_network_policies_of_the_others_stay_as_they_are() -> None:
    before, after = template(), template(*ON)
    for process in ("worker", "trigger", "check"):
        name = f"{RELEASE}-{process}"
        assert only(before, "NetworkPolicy", name) == only(after, "NetworkPolicy", name)
