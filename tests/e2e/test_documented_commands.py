"""The commands of the pages that people open when something is wrong, as they stand there, in a real shell."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE, RECLAIM_SECRET
from tests.e2e.deletion import Scene
from tests.shell import Terminal, block, commands, in_sentences
from worker.__main__ import WORKFLOWS

pytestmark = pytest.mark.long

DOCS = CHECKOUT / "docs"
ON_CALL, OPERATIONS, RUNBOOKS = (DOCS / f"{name}.md" for name in ("on-call", "operations", "runbooks"))
SECRETS = f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets"
DELETING = "It is being deleted"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment({"BTP_HARD_DELETE_TIMEOUT": "10m"}) as environment:
        yield Scene(environment, sap)


@pytest.fixture
def terminal(scene: Scene, tmp_path: Path) -> Terminal:
    return Terminal(scene.environment.cluster, scene.environment.temporal.address, tmp_path)


def test_the_secret_is_made_and_a_cr_becomes_ready(scene: Scene, terminal: Terminal) -> None:
    """prerequisites.md and conditions.md"""
    scene.ready()
    assert "priorityclass" in terminal.run(*block(DOCS / "prerequisites.md", "## Namespace and PriorityClass"))
    known = scene.sap.credentials()
    scene.person.delete(f"{SECRETS}/{CREDENTIALS_SECRET}")
    (create,) = block(DOCS / "prerequisites.md", "## The Secret")
    for key, example in re.findall(r"--from-literal=(\w+)=(\S+)", create):
        create = create.replace(f"{key}={example}", f"{key}={known[key]}")
    assert "secret/sap-btp-manager created" in terminal.run(create)
    every, condition, wait = block(DOCS / "conditions.md", "# What does a BtpOperator's status say?")
    assert "condition met" in terminal.run(wait)
    (short,) = re.findall(r"`(kubectl get btpop [^`]+)`", (DOCS / "conditions.md").read_text())
    message = "the operand is installed and ready"
    assert re.search(rf"kyma-system +btpoperator +Ready +ReconcileSucceeded +{message}", terminal.run(every))
    assert re.search(r"kyma-system +btpoperator +Ready", found := terminal.run(short)) and message not in found
    assert '"reason":"ReconcileSucceeded"' in terminal.run(condition)
    every, wanted = block(RUNBOOKS, "Every message names the object concerned")
    assert re.search(r"kyma-system +btpoperator +Ready", terminal.run(every))
    assert "the operand is installed and ready" in terminal.run(wanted)
    scene.delete()


def test_a_deletion_that_hangs_is_understood_and_ended_by_the_words_of_temporals_command_line(
    scene: Scene, terminal: Terminal
) -> None:
    """operations.md, from top to bottom, and runbooks.md"""
    scene.hang()
    uid = scene.mandate().ref.uid
    every, described, listed, details = (
        line.replace("<uid>", uid) for line in block(OPERATIONS, "**See all at once**")
    )
    assert "Deleting" in terminal.run(every)
    assert "Deletion Timestamp" in terminal.run(described)
    scene.until(lambda: uid in terminal.run(listed), "the workflow to be listed")
    assert "hard_delete_service_objects" in terminal.run(details)
    (label,) = block(RUNBOOKS, "The confirmation deletes all of them, in SAP BTP too")
    assert "labeled" in terminal.run(label)
    (look,) = re.findall(r"`(kubectl [^`]+ label btpoperator btpoperator look=[^`]+)`", OPERATIONS.read_text())
    assert "labeled" in terminal.run(look)

    which, retry, skip, extend, hold, resume = block(OPERATIONS, "Once that is fixed, or if it cannot be")
    (progress,) = re.findall(r"`(temporal workflow query -w \$ID[^`]+)`", OPERATIONS.read_text())
    assert "1 ServiceInstance left" in terminal.run(which, retry)
    assert "alice extended hard delete by 30m" in terminal.run(which, extend)
    assert "alice holds" in terminal.run(which, hold)
    assert "held_until" in terminal.run(which, progress)
    assert "bob resumed" in terminal.run(which, resume)
    assert "soft delete begins" in terminal.run(which, skip)
    scene.gone()
    (report,) = block(OPERATIONS, "**After a soft delete** look at what was abandoned:")
    assert '"name":"instance-0"' in terminal.run(report).replace(" ", "")
    (because,) = re.findall(r"`(kubectl [^`]+jsonpath='\{\.data\.because\}')`", ON_CALL.read_text())
    assert "alice asked for soft delete" in terminal.run(because)


async def test_a_run_is_exported_and_replayed(scene: Scene, terminal: Terminal, tmp_path: Path) -> None:
    """reliability.md and temporal.md; the workflow of the deletion above."""
    export, replay = block(DOCS / "reliability.md", "To replay runs of your own installation")
    assert replay.startswith("make test ") and "tests/replay" in replay
    client = await scene.settled()
    latest = (await anext(client.list_workflows("WorkflowType = 'DeprovisionWorkflow'"))).id
    file = tmp_path / "mine.json"
    terminal.run(export.replace("-w ID", f"-w {latest}").replace("tests/replay/histories/mine.json", str(file)))
    replayer = Replayer(
        workflows=WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner(), data_converter=pydantic_data_converter
    )
    await replayer.replay_workflow(WorkflowHistory.from_json(latest, file.read_text()))
    terminal.run("temporal operator namespace create --namespace btp")
    attributes = block(DOCS / "temporal.md", "whoever\nuses `btpctl retry`")
    scene.until(lambda: "added" in terminal.run(f"{attributes[0]} || true"), "the namespace to be known everywhere")


def test_what_a_deletion_abandoned_is_reclaimed(scene: Scene, terminal: Terminal) -> None:
    """on-call.md, section After a soft delete; goes on with the deletion above."""
    report, shown, reclaim = commands(ON_CALL, "After a soft delete")[:3]
    assert "instance-0" in terminal.run(report)
    (create,) = block(OPERATIONS, "it exists is the consent:")
    for key, value in scene.sap.admin_credentials().items():
        create = create.replace(f"{key}=...", f"{key}={value}")
    assert "secret/sap-btp-reclaim created" in terminal.run(create)
    assert terminal.run(shown).count("would go") == 2
    assert "It has begun" in terminal.run(reclaim)
    scene.until(lambda: not scene.sap.instances and not scene.sap.bindings, "SAP to have nothing left")
    scene.until(lambda: scene.reported() == {}, "the report to be empty")
    scene.person.delete(f"{SECRETS}/{RECLAIM_SECRET}")


def test_a_deletion_that_hangs_is_understood_and_ended_by_btpctl(scene: Scene, terminal: Terminal) -> None:
    """on-call.md, from top to bottom."""
    scene.hang()
    status, watch = commands(ON_CALL, "What is going on?")
    assert "Deleting/HardDeleting" in terminal.run(status)
    assert "1 ServiceInstance left" in terminal.run(f"timeout --foreground 25 {watch}", status=124)
    doctor, look = [line for line in commands(ON_CALL, "Is it alive?") if line.startswith("btpctl ")]
    assert "workers" in terminal.run(f"{doctor} || test $? = 1")  # it ends with 1 where it finds something
    assert "kyma-system/btpoperator will be looked at" in terminal.run(look)
    retry, extend, hold, resume, soft = in_sentences(ON_CALL, DELETING)
    assert "asked again" in terminal.run(retry)
    assert "alice extended hard delete by" in terminal.run(extend)
    assert "alice holds" in terminal.run(hold)
    assert "alice resumed" in terminal.run(resume)
    assert "soft delete begins" in terminal.run(soft)
    scene.gone()
    assert scene.reported().keys() == {"team-a/instance-0", "team-a/binding-0"}
