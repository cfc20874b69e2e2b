"""What the doctor says of deletions that a worker would carry out."""

from btpctl.deletions import pending_deletions
from kube.client import Kube
from kube.resources import BTP_OPERATORS
from models.mandate import Mandate


async def test_a_deletion_that_waits_for_a_worker_is_a_warning_and_one_that_was_refused_is_not(
    kube: Kube, mandate: Mandate
) -> None:
    name, namespace = mandate.ref.name, mandate.ref.namespace
    assert await pending_deletions(kube) == (True, "none")
    await kube.delete(BTP_OPERATORS, name, namespace)
    ok, text = await pending_deletions(kube)
    assert not ok and text == f"{mandate.ref}: a worker deletes every ServiceInstance and ServiceBinding of the cluster"
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "ServiceInstancesAndBindingsNotCleaned",
        "message": "as the Go manager says it",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"status": {"state": "Warning", "conditions": [condition]}}
    await kube.merge(BTP_OPERATORS, name, namespace, status, subresource="status")
    ok, text = await pending_deletions(kube)
    assert ok and "refused while service objects exist" in text
    await kube.merge(BTP_OPERATORS, name, namespace, {"metadata": {"labels": {"force-delete": "true"}}})
    assert not (await pending_deletions(kube))[0]
