"""Worker versioning on a real server: a new version takes over what the old one began, once it is made current."""

import subprocess
import sys
from pathlib import Path

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager
from tests.e2e.deletion import Scene


def make_current(environment: Environment, build: str) -> None:
    """As docs/decisions/0004-worker-versioning.md says. A version is known a moment after its worker is ready."""
    command = [
        *(str(Path(sys.executable).parent / "temporal"), "worker", "deployment", "set-current-version", "--yes"),
        *("--deployment-name", "btp-manager", "--build-id", build, "--address", environment.temporal.address),
    ]
    home = {"HOME": str(environment.cluster.folder)}
    wait_until(
        lambda: subprocess.run(command, check=False, capture_output=True, timeout=60, env=home).returncode == 0,
        f"version {build} to be current",
    )


async def test_a_deletion_that_an_old_version_began_is_ended_by_the_new_one() -> None:
    with ServiceManager() as sap, Environment({"BTP_HARD_DELETE_TIMEOUT": "20s"}) as environment:
        environment.workers[0].stop()
        versions = [
            environment.another(environment.workers[0], {"BTP_DEPLOYMENT_NAME": "btp-manager", "BTP_BUILD_ID": build})
            for build in ("v1", "v2")
        ]
        old, new = versions
        try:
            old.start()
            old.wait_ready()
            make_current(environment, "v1")
            scene = Scene(environment, sap)
            scene.ready()
            scene.make({"team-a": 1})
            assert scene.operand is not None
            scene.operand.kill()
            scene.person.delete_operator("btpoperator")
            scene.until(lambda: scene.reason() == "HardDeleting", "the deletion to begin")
            new.start()
            new.wait_ready()
            make_current(environment, "v2")
            old.stop()
            scene.gone()
            history = await deletion(environment)
        finally:
            for version in versions:
                version.stop()
    builds = [
        event.workflow_task_completed_event_attributes.worker_deployment_version
        or event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    assert "v1" in builds[0] and "v2" in builds[-1], builds


async def deletion(environment: Environment) -> WorkflowHistory:
    """The history of the one DeprovisionWorkflow."""
    client = await Client.connect(environment.temporal.address, data_converter=pydantic_data_converter)
    (run,) = [run async for run in client.list_workflows("WorkflowType = 'DeprovisionWorkflow'")]
    return await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
