import base64
from typing import Any

import pytest

from kube.readiness import has_ready_endpoint, pod_trouble, unready, untrusted_webhooks
from kube.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, VALIDATING_WEBHOOKS

AVAILABLE = {"type": "Available", "status": "True"}
PROGRESSED = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


def deployment(conditions: list[dict[str, str]] | None = None, **status: int) -> dict[str, Any]:
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1, "observedGeneration": 2}
    return {
        "metadata": {"name": "d", "generation": 2},
        "spec": {"replicas": 1},
        "status": {**counts, **status, "conditions": conditions or [AVAILABLE, PROGRESSED]},
    }


def test_a_deployment_with_all_its_pods_is_ready() -> None:
    assert unready(DEPLOYMENTS, deployment()) is None


@pytest.mark.parametrize(
    ("obj", "says"),
    [
        (deployment(observedGeneration=1), "generation 2 is not observed"),
        (deployment(updatedReplicas=0), "0 of 1 pods are of the new version"),
        (deployment(replicas=2), "1 old pods are still there"),
        (deployment(availableReplicas=0), "0 of 1 pods are available"),
        (deployment(readyReplicas=0), "0 of 1 pods are available"),
        (deployment([AVAILABLE, PROGRESSED | {"reason": "ReplicaSetUpdated"}]), "not counted as available"),
        (deployment([{"type": "Available", "status": "False", "message": "none"}]), "is not available: none"),
        (
            deployment([PROGRESSED | {"reason": "ProgressDeadlineExceeded", "message": "stuck"}]),
            "no progress in time: stuck",
        ),
        (deployment([{"type": "ReplicaFailure", "status": "True", "message": "quota"}]), "cannot create pods: quota"),
        ({"metadata": {"name": "d", "generation": 1}, "spec": {}}, "not observed by its controller"),
        ({"metadata": {"name": "d", "deletionTimestamp": "now"}, "spec": {}}, "is being deleted"),
    ],
)
def test_a_deployment_that_is_not_ready_says_what_it_waits_for(obj: dict[str, Any], says: str) -> None:
    assert says in (unready(DEPLOYMENTS, obj) or "")


def test_a_crd_is_ready_when_it_is_served_and_its_names_are_free() -> None:
    def crd(*conditions: dict[str, str]) -> dict[str, Any]:
        return {"metadata": {"name": "c"}, "status": {"conditions": list(conditions)}}

    established = {"type": "Established", "status": "True"}
    assert unready(CUSTOM_RESOURCE_DEFINITIONS, crd(established)) is None
    assert unready(CUSTOM_RESOURCE_DEFINITIONS, crd()) == "is not served yet"
    taken = {"type": "NamesAccepted", "status": "False", "message": "clash"}
    assert "clash" in (unready(CUSTOM_RESOURCE_DEFINITIONS, crd(established, taken)) or "")


def test_configuration_is_ready_once_it_exists() -> None:
    assert unready(CONFIG_MAPS, {"metadata": {"name": "c"}}) is None


def test_a_webhook_counts_only_with_exactly_our_ca() -> None:
    ours = base64.b64encode(b"our CA\n").decode()

    def configuration(bundle: str | None) -> dict[str, Any]:
        client = {"caBundle": bundle} if bundle is not None else {}
        return {"metadata": {"name": "v"}, "webhooks": [{"name": "w.kb.io", "clientConfig": client}]}

    assert untrusted_webhooks(configuration(ours), ours) is None
    for other in (None, "", "!", base64.b64encode(b"another CA").decode()):
        assert "w.kb.io" in (untrusted_webhooks(configuration(other), ours) or "")
    assert unready(VALIDATING_WEBHOOKS, configuration(None)) == "has no usable caBundle: w.kb.io"


def test_a_service_needs_an_address_that_is_ready() -> None:
    def slice_with(**conditions: bool) -> dict[str, Any]:
        return {"endpoints": [{"addresses": ["192.0.2.1"], "conditions": conditions}]}

    assert has_ready_endpoint([slice_with(ready=True)])
    assert has_ready_endpoint([slice_with()])  # unset means ready (discovery.k8s.io/v1)
    assert not has_ready_endpoint([slice_with(ready=False)])
    assert not has_ready_endpoint([{"endpoints": None}, {}])


def test_a_pod_that_cannot_start_says_why() -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no node"}
    stuck = {"metadata": {"name": "p"}, "status": {"containerStatuses": [waiting]}}
    homeless = {"metadata": {"name": "q"}, "status": {"conditions": [unschedulable]}}
    assert pod_trouble([stuck]) == "pod p: ImagePullBackOff no such image"
    assert pod_trouble([homeless]) == "pod q: Unschedulable: no node"
    assert pod_trouble([{"metadata": {"name": "r"}, "status": {}}]) is None


def test_the_newest_pod_is_explained_first_and_pods_that_end_last() -> None:
    def pod(name: str, created: str, **meta: str) -> dict[str, Any]:
        waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
        return {
            "metadata": {"name": name, "creationTimestamp": created, **meta},
            "status": {"containerStatuses": [waiting]},
        }

    old, new = pod("a-old", "2026-01-01T00:00:00Z"), pod("b-new", "2026-01-02T00:00:00Z")
    going = pod("c-going", "2026-01-03T00:00:00Z", deletionTimestamp="2026-01-03T00:00:10Z")
    assert "b-new" in str(pod_trouble([old, going, new]))
    assert "c-going" in str(pod_trouble([going]))


def test_a_paused_deployment_is_named_where_its_rollout_waits_for_that() -> None:
    paused = deployment(updatedReplicas=0)
    paused["spec"]["paused"] = True
    assert "is paused (spec.paused)" in str(unready(DEPLOYMENTS, paused))
    idle = deployment([AVAILABLE, PROGRESSED | {"status": "Unknown", "reason": "DeploymentPaused"}])
    idle["spec"]["paused"] = True
    assert unready(DEPLOYMENTS, idle) is None
