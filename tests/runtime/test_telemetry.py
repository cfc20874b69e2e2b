"""What the SDK's core counts, by the names that alerts go by."""

import re
import uuid

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from localcluster.temporal import TemporalServer
from runtime.telemetry import SdkTelemetry
from tests.conftest import Eventually
from tests.unit.test_monitoring import ALERT_EXPRESSIONS

FAILED = "temporal_workflow_task_execution_failed"


@workflow.defn
class DefectiveWorkflow:
    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a defect")


async def test_a_workflow_task_that_fails_is_counted_by_the_name_that_an_alert_goes_by(
    temporal_server: TemporalServer, eventually: Eventually
) -> None:
    telemetry, queue = SdkTelemetry(), f"test-{uuid.uuid4().hex[:8]}"
    client = await Client.connect(temporal_server.address, runtime=telemetry.runtime)
    runner = UnsandboxedWorkflowRunner()

    async def is_counted() -> bool:
        page = (await telemetry.metrics()).decode()
        return bool(re.search(rf'^{FAILED}{{[^}}]*workflow_type="DefectiveWorkflow"[^}}]*}} [1-9]', page, re.MULTILINE))

    async with Worker(client, task_queue=queue, workflows=[DefectiveWorkflow], workflow_runner=runner):
        handle = await client.start_workflow("DefectiveWorkflow", id=queue, task_queue=queue)
        await eventually(is_counted)
        await handle.terminate()
    assert any(FAILED in expression for expression in ALERT_EXPRESSIONS)
