"""The command line as a person runs it, against real servers."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import pytest
import structlog

from btpctl.__main__ import main
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment
from localcluster.processes import free_port
from localcluster.servicemanager import ServiceManager
from localcluster.shipped import RELEASE
from localcluster.terminal import at_terminal
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET
from tests.e2e.deletion import Scene

SETTINGS = {"BTP_HARD_DELETE_TIMEOUT": "10m"}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment(SETTINGS) as environment:
        yield Scene(environment, sap)


@dataclass
class Ran:
    """What a command said."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.status in (0, 1), self.err
        return json.loads(self.out)


def btpctl(scene: Scene, *arguments: str, **environment: str) -> Ran:
    """Run a command in a pipe with the worker's own identity, as `kubectl exec` into its pod would.

    In this process: to start one takes longer than most commands.
    """
    variables = {**scene.environment.workers[0].environment, **environment}
    out, err = io.StringIO(), io.StringIO()
    logs = structlog.get_config()
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.object(sys, "argv", ["btpctl", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main()
    structlog.configure(**logs)
    return Ran(status, out.getvalue(), err.getvalue())


def administrator(scene: Scene) -> tuple[str, str]:
    """The option with which a person's own rights are used, from a laptop."""
    return "--kubeconfig", str(scene.environment.cluster.kubeconfig())


def on_terminal(scene: Scene, answer: str, *arguments: str) -> tuple[int, str]:
    """The same at a terminal of 80 columns, where a person types `answer`."""
    command = [sys.executable, "-m", "btpctl", *arguments]
    status, shown = at_terminal(command, scene.environment.workers[0].environment, answer)
    return status, re.sub(r"\x1b\[[\d;]*m", "", shown)


def test_a_deletion_is_followed_and_hastened_from_the_command_line(scene: Scene) -> None:
    assert "There is no BtpOperator" in btpctl(scene, "status").out
    assert "Nothing was abandoned" in btpctl(scene, "abandoned").out
    assert "no BtpOperator is there" in btpctl(scene, "look").err
    scene.ready()
    (ready,) = btpctl(scene, "status", "-o", "json").json()
    assert (ready["name"], ready["state"]) == (f"{KYMA_NAMESPACE}/btpoperator", "Ready")
    for arguments in (("retry", "btpoperator"), ("release", "--by", "alice", "--why", "try", *administrator(scene))):
        alive = btpctl(scene, *arguments)
        assert alive.status == 2 and "is not being deleted" in alive.err
    looked = btpctl(scene, "look")
    assert looked.status == 0 and ready["workflow_id"] in looked.out
    trigger = scene.environment.triggers[0].environment
    assert btpctl(scene, "status", **trigger).status == 0
    assert btpctl(scene, "doctor", "--process", "trigger", **trigger).status == 0
    for command in ("look", "abandoned", "in-use"):
        assert btpctl(scene, command, **trigger).status == 4, command
    assert btpctl(scene, "takeover").status == 4

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
    assert "asked again; " in btpctl(scene, "retry", f"{KYMA_NAMESPACE}/btpoperator").out
    nobody = btpctl(scene, "status", "--namespace", "team-a")
    assert "There is no BtpOperator" in nobody.out


def test_a_status_is_readable_at_80_columns_and_in_a_pipe(scene: Scene) -> None:
    """Goes on with the deletion above."""
    (known,) = btpctl(scene, "status", "-o", "json").json()
    piped = btpctl(scene, "status", "btpoperator")
    assert "\x1b" not in piped.out
    assert f"workflow: {known['workflow_id']}" in piped.out
    assert "Deleting/HardDeleting" in piped.out and "DeprovisionWorkflow" in piped.out and "budget left: " in piped.out
    lines = on_terminal(scene, "", "status")[1].splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert known["workflow_id"] in [line.strip() for line in lines], lines


def test_a_deletion_is_given_time_and_ended_by_people_with_names(scene: Scene) -> None:
    """Goes on with the deletion above."""
    assert "--by" in btpctl(scene, "hold", "--why", "ticket").err
    assert btpctl(scene, "hold", "--by", " ", "--why", "ticket").status == 2
    longer = btpctl(scene, "extend", "--minutes", "30", "--by", "alice", "--why", "the broker is back at four")
    assert longer.status == 0 and "alice" in longer.out, longer.err
    held = btpctl(scene, "hold", "--by", "alice", "--why", "ticket 4711")
    assert held.status == 0, held.err
    assert "held, for: " in btpctl(scene, "status").out
    again = btpctl(scene, "hold", "--by", "bob", "--why", "me too")
    assert again.err.startswith("btpctl: kyma-system/btpoperator: alice holds it already")
    assert btpctl(scene, "resume", "--by", "bob").status == 0
    (left,) = btpctl(scene, "status", "-o", "json").json()
    assert 2000 < left["budget_left_seconds"] <= 2400 + 600

    unsure = btpctl(scene, "soft-delete", "--by", "alice")
    assert unsure.status == 2 and "--yes" in unsure.err and len(unsure.err.strip().splitlines()) == 1
    status, said = on_terminal(scene, "n", "soft-delete", "--by", "alice")
    assert status == 1 and "instance-0" in said and "End hard delete now?" in said
    assert scene.reported() == {}
    begins = btpctl(scene, "soft-delete", "--by", "alice", "--yes").out
    assert begins.startswith("soft delete begins; 1 ServiceBinding and 1 ServiceInstance left")
    assert "soft delete follows" not in begins
    scene.gone()
    entries = btpctl(scene, "abandoned", "-o", "json").json()
    assert {(entry["kind"], entry["name"]) for entry in entries} == {
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
    not_asked = " ".join(healthy.out.split())
    assert "trigger not checked" in not_asked and "btpctl doctor --process trigger" in not_asked
    scene.person.put_secret({"clientid": "x"})
    ill = {check["check"]: check for check in btpctl(scene, "doctor", "-o", "json").json()}
    assert [name for name, check in ill.items() if not check["ok"]] == ["Secret"]
    assert "missing keys" in ill["Secret"]["detail"]
    trigger = scene.environment.triggers[0].environment["KUBECONFIG"]
    wrong = {check["check"]: check for check in btpctl(scene, "doctor", "-o", "json", KUBECONFIG=trigger).json()}
    assert not wrong["rights"]["ok"] and f"chart/{RELEASE}" in wrong["rights"]["detail"]
    as_trigger = btpctl(scene, "doctor", "--process", "trigger", KUBECONFIG=trigger)
    assert as_trigger.status == 0 and "that the trigger needs" in as_trigger.out, as_trigger.out
    assert "not checked" not in as_trigger.out
    elsewhere = btpctl(scene, "doctor", TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}", BTP_CHART_PATH="/nowhere")
    assert elsewhere.status == 1
    assert "cannot be reached" in elsewhere.out and "there is no chart in /nowhere" in elsewhere.out


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        (["look", "nobody"], {}, 2, "no BtpOperator is called nobody"),
        (["status"], {"KUBECONFIG": "/nowhere"}, 2, "no usable Kubernetes configuration"),
        (["status", "--context", "nowhere"], {}, 2, "nowhere"),
        (["status"], {"BTP_READY_TIMEOUT": "soon"}, 2, "BTP_READY_TIMEOUT"),
        (
            ["retry", "--temporal-address", "127.0.0.1:1"],
            {},
            3,
            "127.0.0.1:1 (--temporal-address) cannot be reached: connection refused",
        ),
        (["status", "--temporal-namespace", "nowhere"], {}, 2, "knows no namespace nowhere"),
    ],
)
def test_what_cannot_be_done_ends_with_its_status_and_one_sentence(
    scene: Scene, arguments: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    ran = btpctl(scene, *arguments, **environment)
    assert ran.status == status and said in ran.err, ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_missing_right_is_told_as_what_it_is(scene: Scene) -> None:
    nobody = scene.environment.cluster.service_account("default", "default", "")
    ran = btpctl(scene, "status", "--kubeconfig", str(nobody))
    assert ran.status == 4 and "does not let you do this" in ran.err, ran.err


def test_a_wrong_command_and_help_are_answered(scene: Scene) -> None:
    wrong = btpctl(scene, "stauts")
    assert wrong.status == 2 and "Did you mean 'status'" in wrong.err
    helped = btpctl(scene, "--help")
    assert helped.status == 0 and "soft-delete" in helped.out
    assert re.fullmatch(r"btpctl \d+\.\d+\S*", btpctl(scene, "--version").out.strip())
    told = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # which shell called is for Typer to find out
    assert "_BTPCTL_COMPLETE" in btpctl(scene, "--show-completion", "bash", **told).out


def test_a_watch_outlives_an_api_server_that_is_away(scene: Scene) -> None:
    """Frozen, it says nothing at all, which is worse than a refusal."""
    variables = scene.environment.workers[0].environment
    command = [sys.executable, "-m", "btpctl", "status", "--watch", "--timeout", "1"]
    cluster = scene.environment.cluster
    with subprocess.Popen(command, cwd=CHECKOUT, env=variables, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines = iter(watching.stdout.readline, "")
        assert any("There is no BtpOperator" in line for line in lines)
        cluster.freeze_apiserver()
        assert any("did not answer within 1 s; asking again" in line for line in lines)
        cluster.thaw_apiserver()
        assert any("There is no BtpOperator" in line for line in lines)
        watching.terminate()


@pytest.fixture(scope="module")
def deleting(scene: Scene) -> Scene:
    """A deletion that waits, since the operand is dead."""
    scene.hang()
    return scene


@pytest.fixture(scope="module")
def orphaned(deleting: Scene) -> Scene:
    """The same, when its worker has died."""
    worker = deleting.environment.workers[0].process
    assert worker is not None
    worker.kill()
    return deleting


def test_no_glass_is_broken_while_a_worker_is_alive(deleting: Scene) -> None:
    release = ("release", "--by", "alice", "--why", "try", "--yes", *administrator(deleting))
    refused = btpctl(deleting, *release)
    assert refused.status == 2 and "a worker runs" in refused.err and "--even-if-a-worker-runs" in refused.err
    assert deleting.reported() == {} and deleting.state() == "Deleting"


def test_the_resync_is_not_ended_while_a_worker_would_make_it_again(deleting: Scene) -> None:
    refused = btpctl(deleting, "end-resync")
    assert refused.status == 2 and "would make the Schedule again: uninstall them first" in refused.err


@pytest.mark.long
@pytest.mark.timeout(300)
def test_without_a_worker_every_command_says_so_in_time(orphaned: Scene) -> None:
    scene = orphaned
    shown = btpctl(scene, "status", "--timeout", "2")
    assert shown.status == 3 and "no worker answered within 2 s" in shown.out and "Deleting/" in shown.out
    for arguments in (
        ("retry",),
        ("resume", "--by", "alice"),
        ("soft-delete", "--by", "alice", "--yes"),
        ("reclaim", "--dry-run"),
    ):
        silent = btpctl(scene, *arguments, "--timeout", "2")
        assert silent.status in (2, 3), silent.err
        assert len(silent.err.strip().splitlines()) <= 2, silent.err


def test_glass_is_broken_without_worker_and_temporal(orphaned: Scene) -> None:
    scene = orphaned
    away = ("--temporal-address", f"127.0.0.1:{free_port()}", *administrator(scene))
    release = ("release", "--by", "alice", "--why", "Temporal is gone for good", *away)
    unsure = btpctl(scene, *release)
    assert unsure.status == 2 and "--yes" in unsure.err
    told = unsure.out
    assert "1 ServiceInstance and 1 ServiceBinding, reported" in told and "ServiceInstance team-a/instance-0" in told
    assert "Deployment kyma-system/sap-btp-operator-controller-manager" in told
    assert "is not known: Temporal at" in told
    assert scene.reported() == {} and scene.state() == "Deleting"
    done = btpctl(scene, *release, "--yes")
    assert done.status == 0 and "is let go" in done.out, done.err
    scene.gone()
    assert set(scene.reported()) == {"team-a/instance-0", "team-a/binding-0"}
    found = scene.person.get("/api/v1/namespaces/kyma-system/configmaps/sap-btp-abandoned")
    assert found and found["data"]["because"] == "released by alice: Temporal is gone for good"
    assert len(scene.person.service_objects()) == 2 and scene.person.managed_objects()
    assert "no BtpOperator is there" in btpctl(scene, *release, "--yes").err


def test_where_nothing_is_in_use_the_guard_of_an_uninstallation_ends_the_resync(orphaned: Scene) -> None:
    ended = btpctl(orphaned, "in-use", "--end-resync")
    assert ended.status == 0 and "no BtpOperator exists" in ended.out and " is deleted\n" in ended.out, ended.err
    assert " does not exist\n" in btpctl(orphaned, "in-use", "--end-resync").out
