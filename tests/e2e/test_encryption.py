"""With a payload key Temporal stores nothing that can be read without it; the command line reads it with the key."""

import base64
import os
import subprocess
import sys

import pytest
from temporalio.client import Client

from localcluster.client import CREDENTIALS
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.names import KYMA_NAMESPACE
from tests.e2e.deletion import Scene

pytestmark = pytest.mark.long


async def test_what_temporal_stores_cannot_be_read_without_the_key() -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    with ServiceManager() as sap, Environment({"BTP_PAYLOAD_KEY": key}) as environment:
        scene = Scene(environment, sap)
        scene.person.put_secret(CREDENTIALS)
        scene.person.create_operator("btpoperator")
        scene.until(lambda: scene.state() == "Ready", "the CR to be Ready")
        assert f"{KYMA_NAMESPACE}/btpoperator" in status(environment)
        scene.delete()
        client = await Client.connect(environment.temporal.address)
        seen = 0
        async for run in client.list_workflows("WorkflowType != 'ResyncWorkflow'"):
            history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            first = history.events[0].workflow_execution_started_event_attributes
            assert first.input.payloads[0].metadata["encoding"] == b"binary/encrypted"
            for event in history.events:
                for text in (b"hard_delete_timeout", b"the operand is installed", b"responsible"):
                    assert text not in event.SerializeToString(), event
                seen += 1
        assert seen > 10
        logs = "".join(path.read_text() for path in environment.cluster.folder.glob("*.log"))
        assert key not in logs


def status(environment: Environment) -> str:
    """What `btpctl status` says with the key."""
    command = [sys.executable, "-m", "btpctl", "status"]
    variables = environment.workers[0].environment
    return subprocess.run(
        command, env=variables, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
