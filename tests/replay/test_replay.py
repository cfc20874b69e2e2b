"""Recorded histories of each path below, replayed with today's code: a new worker takes running workflows over."""

import json
import re
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from models.names import PROVISION_WORKFLOW
from models.operator_input import OperatorInput
from models.provision import ProvisionOutcome, ProvisionResult
from worker.__main__ import WORKFLOWS

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
PATHS = {
    "provision-ready",
    "provision-missing-secret",
    "provision-invalid-secret",
    "provision-drift",
    "provision-spare",
    "provision-not-ready-in-time",
    "provision-troubled",
    "provision-deleted-meanwhile",
    "resync",
    "deprovision-hard",
    "deprovision-soft",
    "deprovision-nothing-there",
    "deprovision-failed",
    "deprovision-operand-first",
    "deprovision-retry",
    "deprovision-skip",
    "deprovision-extend",
    "deprovision-restored",
    "provision-continues",
    "provision-continued",
    "deprovision-continues",
    "deprovision-continued",
    "deprovision-reclaims",
    "reclaim-continues",
    "reclaim-continued",
}
HOW_TO_CHANGE = """
Today's workflow code would not do what this recorded run did: such a run, taken over by a new worker, would be stuck.
If the change is wanted, keep the old way for old runs:

    if workflow.patched("what-changes"):
        ...  # the new way
    else:
        ...  # the old way, until no run that began before the change is left

and record the new path beside the old ones (`make record`); see docs/reliability.md, "Changing a workflow".
"""


def replayer(*workflows: type) -> Replayer:
    return Replayer(
        workflows=workflows or WORKFLOWS,
        data_converter=pydantic_data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


def history(path: Path) -> WorkflowHistory:
    """With the id that the run had: that of a child is made from it."""
    recorded = path.read_text()
    started = json.loads(recorded)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], recorded)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
async def test_a_recorded_run_would_be_taken_over(path: Path) -> None:
    result = await replayer().replay_workflow(history(path), raise_on_replay_failure=False)
    if result.replay_failure:
        pytest.fail(f"{path.stem}: {result.replay_failure}\n{HOW_TO_CHANGE}")


def test_every_path_is_recorded() -> None:
    assert {path.stem for path in HISTORIES} == PATHS


@workflow.defn(name=PROVISION_WORKFLOW)
class Changed:
    """A ProvisionWorkflow that somebody changed without keeping the old way."""

    @workflow.run
    async def run(self, input: OperatorInput) -> ProvisionResult:
        await workflow.sleep(1)
        return ProvisionResult(outcome=ProvisionOutcome.READY)


async def test_a_change_that_would_leave_runs_stuck_is_noticed() -> None:
    path = next(path for path in HISTORIES if path.stem == "provision-ready")
    result = await replayer(Changed).replay_workflow(history(path), raise_on_replay_failure=False)
    assert isinstance(result.replay_failure, workflow.NondeterminismError)


def test_no_history_names_the_machine_it_was_recorded_on() -> None:
    for path in HISTORIES:
        found = re.findall(r'"identity"|stackTrace|site-packages|"\d+@', path.read_text())
        assert not found, path
