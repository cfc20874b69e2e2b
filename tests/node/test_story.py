"""docs/install.md on a node that runs containers and enforces policies, with the operand as a real pod."""

import json
import time
from typing import Any

import pytest

from localcluster.apart import HOST
from localcluster.realnode import NAME, SECOND, TEMPORAL_PORT
from localcluster.shipped import RELEASE, helm
from localcluster.testnode import CRASHING, MISSING, manager_image
from models.names import KYMA_NAMESPACE
from tests.node.scene import CR, FIGURES, PLAIN, POSSIBLE, Scene, documented

pytestmark = pytest.mark.timeout(400)
PROCESSES = ("worker", "trigger")
KUBELET = 10250
"""A port of the node that listens, and that nobody's policy names."""
TOKEN = 600
"""Seconds: the shortest life that Kubernetes gives a token."""


def test_it_is_installed_and_its_doctor_names_the_secret_that_is_missing(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="sap-btp-manager"):
        scene.doctor()
    scene.person.create_operator(CR)
    scene.says("Error", "MissingSecret", "kyma-system/sap-btp-manager")
    scene.person.delete_operator(CR)
    scene.gone()


def test_policies_are_enforced_a_worker_reaches_what_its_own_allows_and_nothing_else(scene: Scene) -> None:
    def reach(port: int) -> list[str]:
        return ["python", "-c", f"import socket; socket.create_connection(({HOST!r}, {port}), 3)"]

    worker = ("-n", KYMA_NAMESPACE, "exec", f"deploy/{RELEASE}-worker", "--")
    scene.node.kubectl(*worker, *reach(TEMPORAL_PORT))
    with pytest.raises(RuntimeError, match=r"TimeoutError|ConnectionRefusedError"):
        scene.node.kubectl(*worker, *reach(KUBELET))
    image = ("--image", manager_image(), "--restart=Never")
    scene.node.kubectl("-n", "default", "run", "free", *image, "--command", "--", *reach(KUBELET))
    scene.node.kubectl("-n", "default", "wait", "pod/free", "--for=jsonpath={.status.phase}=Succeeded")


def test_from_a_cr_to_instances_with_bindings_and_back_to_nothing(scene: Scene) -> None:
    began = time.monotonic()
    scene.ready()
    FIGURES["a CR until Ready, with the operand's own probes"] = time.monotonic() - began
    assert [pod["status"]["phase"] for pod in scene.operand_pods()] == ["Running"]
    scene.make(2)
    assert "ok" in scene.doctor()
    began = time.monotonic()
    scene.person.delete_operator(CR)
    scene.gone()
    FIGURES["a deletion with 2 instances and 2 bindings"] = time.monotonic() - began
    scene.until(lambda: not scene.operand_pods(), "the operand's pod to be gone")


def test_a_deletion_ends_though_both_workers_are_killed(scene: Scene) -> None:
    scene.half_deleted()
    for pod in scene.pods("worker"):
        scene.node.kill_container(pod["metadata"]["name"])
    scene.gone()
    assert all(pod["status"]["containerStatuses"][0]["restartCount"] for pod in scene.pods("worker"))
    scene.until(scene.installed, "both workers to be back")


def test_a_deletion_ends_though_worker_and_trigger_are_rolled_out_anew(scene: Scene) -> None:
    before = {pod["metadata"]["uid"] for process in PROCESSES for pod in scene.pods(process)}
    scene.half_deleted()
    for process in PROCESSES:
        scene.node.kubectl("-n", KYMA_NAMESPACE, "rollout", "restart", f"deployment/{RELEASE}-{process}")
    scene.gone()
    scene.until(scene.installed, "the rollout to end")
    assert not before & {pod["metadata"]["uid"] for process in PROCESSES for pod in scene.pods(process)}


def test_a_drain_leaves_one_worker_and_one_trigger(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="disruption budget"):
        scene.node.kubectl("drain", NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=15s")
    for process in PROCESSES:
        running = [pod for pod in scene.pods(process) if pod["status"]["phase"] == "Running"]
        assert [pod["metadata"].get("deletionTimestamp") for pod in running] == [None], process
    scene.node.kubectl("uncordon", NAME)
    scene.until(scene.installed, "all pods to be back")


def test_an_operand_whose_image_is_missing_or_crashes_is_named_soon_and_until_a_rollback(scene: Scene) -> None:
    patience = "BTP_READY_TIMEOUT=45s"
    scene.sap.forget()
    scene.person.put_secret(scene.sap.credentials())
    scene.upgrade(patience, f"BTP_OPERAND_IMAGE={MISSING}")
    scene.until(scene.installed, "the upgrade to be rolled out")
    began = time.monotonic()
    scene.person.create_operator(CR)
    scene.says("Processing", "Processing", "ImagePull", MISSING, seconds=30)
    FIGURES["a CR until it says that the operand's image cannot be pulled"] = time.monotonic() - began
    scene.says("Error", "ProvisioningFailed", "ImagePull", MISSING)
    scene.upgrade(patience, f"BTP_OPERAND_IMAGE={CRASHING}")
    scene.says("Processing", "Processing", "CrashLoopBackOff")
    scene.says("Error", "ProvisioningFailed", "CrashLoopBackOff")
    helm(scene.node, "rollback", RELEASE, "1")
    scene.says("Ready", "ReconcileSucceeded")
    scene.person.delete_operator(CR)
    scene.gone()
    scene.until(scene.installed, "the rollback to be rolled out")


def test_a_deletion_ends_though_a_node_dies_with_the_operand_and_half_of_the_manager(scene: Scene) -> None:
    with scene.node.second() as second:
        scene.node.kubectl("cordon", NAME)
        for process in PROCESSES:
            scene.node.kubectl("-n", KYMA_NAMESPACE, "delete", "pod", scene.pods(process)[0]["metadata"]["name"])
        scene.until(scene.installed, "one worker and one trigger on the second node")
        scene.half_deleted()
        scene.node.kubectl("uncordon", NAME)
        for process in PROCESSES:
            assert sorted(pod["spec"]["nodeName"] for pod in scene.pods(process)) == [NAME, SECOND]
        assert [pod["spec"]["nodeName"] for pod in scene.operand_pods()] == [SECOND]
        began = time.monotonic()
        second.die()
        scene.gone(seconds=300)
        FIGURES["a deletion whose node dies, from then on"] = time.monotonic() - began
    dead = ("-n", KYMA_NAMESPACE, "delete", "pod", "--force", "--field-selector", f"spec.nodeName={SECOND}")
    scene.node.kubectl(*dead)
    scene.until(scene.installed, "all pods to be back on the node that is left")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_tokens_that_expire_are_replaced_while_the_same_pods_run_on(scene: Scene) -> None:
    for process in PROCESSES:
        scene.node.kubectl(
            *("-n", KYMA_NAMESPACE, "patch", f"deployment/{RELEASE}-{process}"), "-p", json.dumps(short_lived(process))
        )
        scene.node.kubectl(
            *("-n", KYMA_NAMESPACE, "rollout", "status", f"deployment/{RELEASE}-{process}"), seconds=POSSIBLE
        )
    scene.until(scene.installed, "the pods with short-lived tokens")
    scene.ready()
    before = [pod["metadata"]["uid"] for process in PROCESSES for pod in scene.pods(process)]
    time.sleep(TOKEN + 60)
    scene.make(1)
    scene.person.delete_operator(CR)
    scene.gone()
    pods = [pod for process in PROCESSES for pod in scene.pods(process)]
    assert [pod["metadata"]["uid"] for pod in pods] == before
    assert not any(pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods)
    helm(scene.node, "rollback", RELEASE, "1")
    scene.until(scene.installed, "the usual pods to be back")


def test_it_is_not_uninstalled_while_a_cr_exists_and_leaves_nothing_running_afterwards(scene: Scene) -> None:
    scene.ready()
    with pytest.raises(RuntimeError):
        helm(scene.node, "uninstall", RELEASE, "--wait")
    assert scene.installed()
    scene.person.delete_operator(CR)
    scene.gone()
    helm(scene.node, "uninstall", RELEASE, "--wait")
    scene.until(lambda: not scene.pods("worker") and not scene.pods("trigger"), "the pods to be gone")


def test_what_an_uninstallation_leaves_is_deleted_as_documented_and_kubectl_installs_the_release(scene: Scene) -> None:
    for beginning in ("clusterrole,", "-n kyma-system delete role,", "crd btp"):
        words = beginning if beginning.startswith("-n") else f"delete {beginning}"
        scene.node.kubectl(*documented(f"kubectl {words}")[1:])
    scene.node.kubectl(*documented("kubectl apply --server-side -f dist/prerequisites.yaml -f")[1:])
    plain = PLAIN.removeprefix("settings.")
    deployments = [f"deployment/{RELEASE}-{process}" for process in PROCESSES]
    scene.node.kubectl("-n", KYMA_NAMESPACE, "set", "env", *deployments, plain)
    scene.until(scene.installed, "two workers and two triggers to be ready")
    scene.ready()
    scene.make(1)
    scene.person.delete_operator(CR)
    scene.gone()


def short_lived(process: str) -> dict[str, Any]:
    """A patch of a Deployment: its pods' tokens end after TOKEN seconds, and not after an hour."""
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    mount = {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    spec = {
        "automountServiceAccountToken": False,
        "volumes": [{"name": "token", "projected": {"sources": sources}}],
        "containers": [{"name": process, "volumeMounts": [mount]}],
    }
    return {"spec": {"template": {"spec": spec}}}
