"""Before the manager is uninstalled, open reclaims are named: nobody would go on with them."""

import asyncio
import uuid

from temporalio.client import Client

from btpctl.in_use import may_reclaim, open_reclaims
from kube.client import Kube
from kube.resources import SECRETS
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET, RECLAIM_WORKFLOW
from models.reclaim import ReclaimInput


async def test_reclaims_of_this_task_queue_are_named_while_they_are_open(temporal: Client) -> None:
    queue = f"test-{uuid.uuid4().hex[:8]}"
    handles = [
        await temporal.start_workflow(
            RECLAIM_WORKFLOW, ReclaimInput(cluster="c"), id=f"{name}/reclaim", task_queue=name
        )
        for name in (queue, f"{queue}-of-another")
    ]
    async with asyncio.timeout(60):
        while not (found := await open_reclaims(temporal, queue)):
            await asyncio.sleep(0.1)
    assert found == [f"{queue}/reclaim"]
    for handle in handles:
        await handle.terminate()
    async with asyncio.timeout(60):
        while await open_reclaims(temporal, queue):
            await asyncio.sleep(0.1)


async def test_temporal_is_asked_for_reclaims_only_where_the_secret_for_them_exists(kube: Kube, worker: Kube) -> None:
    await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
    assert not await may_reclaim(worker)
    await kube.create(SECRETS, {"metadata": {"name": RECLAIM_SECRET, "namespace": KYMA_NAMESPACE}})
    try:
        assert await may_reclaim(worker)
    finally:
        await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
