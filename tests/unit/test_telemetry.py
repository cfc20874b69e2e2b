"""One page of metrics for a process: ours and those of Temporal's SDK."""

import aiohttp
from temporalio.testing import WorkflowEnvironment

from localcluster.processes import free_port
from runtime.pages import pages
from runtime.telemetry import SdkTelemetry


async def test_the_metrics_page_shows_ours_and_the_sdks() -> None:
    sdk = SdkTelemetry()
    address = f"127.0.0.1:{free_port()}"
    async with pages("", address, str, str, sdk), await WorkflowEnvironment.start_time_skipping(runtime=sdk.runtime):
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/metrics") as answer:
            text = await answer.text()
    assert "btp_kube_requests_total" in text
    assert "temporal_request" in text
