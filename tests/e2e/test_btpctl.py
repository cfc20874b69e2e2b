"""The command line as a person runs it, against real servers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from localcluster.controlplane import CHECKOUT
from localcluster.environment import RELEASE, Environment
from localcluster.processes import free_port
from localcluster.servicemanager import ServiceManager
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET
from tests.e2e.deletion import Scene

SETTINGS = {"BTP_HARD_DELETE_TIMEOUT": "10m"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment(SETTINGS, deployed=True) as environment:
        yield Scene(environment, sap)


class Ran:
    """What a command said."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert "Traceback" not in self.err, self.err

    def json(self) -> Any:
        assert self.status in (0, 1), self.err
        return json.loads(self.out)


def btpctl(scene: Scene, *arguments: str, **environment: str) -> Ran:
    """Run a command with the worker's own identity, as `kubectl exec` into its pod would."""
    variables = {**scene.environment.workers[0].environment, "COLUMNS": "300", **environment}
    command = [sys.executable, "-m", "btpctl", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, timeout=60, check=False)
    return Ran(done)


def test_a_deletion_is_followed_and_hastened_from_the_command_line(scene: Scene) -> None:
    assert "There is no BtpOperator" in btpctl(scene, "status").out
    assert "Nothing was abandoned" in btpctl(scene, "abandoned").out
    scene.ready()
    (ready,) = btpctl(scene, "status", "-o", "json").json()
    assert (ready["name"], ready["state"]) == (f"{KYMA_NAMESPACE}/btpoperator", "Ready")
    assert "is not being deleted" in btpctl(scene, "retry", "btpoperator").err

    scene.make({"team-a": 1})
    assert scene.operand is not None
    scene.operand.kill()
    scene.person.delete_operator("btpoperator")

    def pending() -> dict[str, Any]:
        (found,) = btpctl(scene, "status", "-o", "json").json()
        return dict(found)

    scene.until(lambda: pending()["budget_left_seconds"], "the budget to be shown", 60)
    deleting = pending()
    assert deleting["workflow"] == "DeprovisionWorkflow" and 500 < deleting["budget_left_seconds"] <= 600
    assert "1 ServiceInstance left" in deleting["waits_for"]
    table = btpctl(scene, "status")
    assert "DeprovisionWorkflow" in table.out and "Deleting" in table.out
    assert "asked again; " in btpctl(scene, "retry", f"{KYMA_NAMESPACE}/btpoperator").out
    unsure = btpctl(scene, "soft-delete", "btpoperator")
    assert unsure.status == 2 and "--now" in unsure.err
    assert "soft delete begins" in btpctl(scene, "soft-delete", "btpoperator", "--now", "--by", "alice").out
    scene.gone()
    left = btpctl(scene, "abandoned", "-o", "json").json()
    assert {(entry["kind"], entry["name"]) for entry in left} == {
        ("ServiceBinding", "binding-0"),
        ("ServiceInstance", "instance-0"),
    }
    assert "instance-0" in btpctl(scene, "abandoned").out


def test_an_older_report_is_shown_first_and_reclaimed_only_when_a_person_says_so(scene: Scene) -> None:
    """What the deletion above abandoned, when nobody had consented yet."""
    nobody = btpctl(scene, "reclaim", "--dry-run")
    assert nobody.status == 2 and f"Secret {KYMA_NAMESPACE}/{RECLAIM_SECRET} does not exist" in nobody.err
    scene.person.put_secret(scene.sap.admin_credentials(), name=RECLAIM_SECRET)
    shown = btpctl(scene, "reclaim", "--dry-run")
    assert shown.status == 0 and shown.out.count("would go") == 2, shown.out
    unsure = btpctl(scene, "reclaim")
    assert unsure.status == 2 and "--yes" in unsure.err
    assert (len(scene.sap.instances), len(scene.sap.bindings), scene.sap.deleted()) == (1, 1, set())
    assert "It has begun" in btpctl(scene, "reclaim", "--yes").out
    scene.until(lambda: not scene.sap.instances and not scene.sap.bindings, "SAP to have nothing left")
    scene.until(lambda: scene.reported() == {}, "the report to be empty")
    assert "Nothing was abandoned" in btpctl(scene, "abandoned").out
    assert "Nothing is reported" in btpctl(scene, "reclaim", "--yes").out


def test_the_doctor_finds_what_is_missing_and_says_what_to_do(scene: Scene) -> None:
    scene.person.put_secret(scene.sap.credentials())
    healthy = btpctl(scene, "doctor")
    assert healthy.status == 0, healthy.out
    assert "Temporal is reached without TLS" in healthy.out and "nobody else runs under a CR's id" in healthy.out
    scene.person.put_secret({"clientid": "x"})
    ill = {check["check"]: check for check in btpctl(scene, "doctor", "-o", "json").json()}
    assert [name for name, check in ill.items() if not check["ok"]] == ["Secret"]
    assert "missing keys" in ill["Secret"]["detail"]
    trigger = scene.environment.triggers[0].environment["KUBECONFIG"]
    as_trigger = {check["check"]: check for check in btpctl(scene, "doctor", "-o", "json", KUBECONFIG=trigger).json()}
    assert not as_trigger["rights"]["ok"] and f"chart/{RELEASE}" in as_trigger["rights"]["detail"]
    elsewhere = btpctl(scene, "doctor", TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}", BTP_CHART_PATH="/nowhere")
    assert elsewhere.status == 1
    assert "cannot be reached" in elsewhere.out and "there is no chart in /nowhere" in elsewhere.out


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["retry", "nobody"], {}, "no BtpOperator is called nobody"),
        (["status"], {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "cannot be reached"),
        (["status"], {"KUBECONFIG": "/nowhere"}, "no usable Kubernetes configuration"),
        (["status"], {"BTP_READY_TIMEOUT": "soon"}, "BTP_READY_TIMEOUT"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_sentence(
    scene: Scene, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    ran = btpctl(scene, *arguments, **environment)
    assert ran.status == 2 and said in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_wrong_command_and_help_are_answered(scene: Scene) -> None:
    wrong = btpctl(scene, "stauts")
    assert wrong.status == 2 and "Did you mean 'status'" in wrong.err
    helped = btpctl(scene, "--help")
    assert helped.status == 0 and "soft-delete" in helped.out
