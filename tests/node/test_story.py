"""The manager's image and chart, and the operand as a real pod, on a node that runs containers: `make test-node`."""

import time

import pytest

from localcluster.environment import MANAGER_CHART, RELEASE, helm
from localcluster.realnode import NAME
from localcluster.testnode import CRASHING, MISSING
from models.names import KYMA_NAMESPACE
from tests.node.scene import CR, FIGURES, PLAIN, Scene

pytestmark = pytest.mark.timeout(400)
PROCESSES = ("worker", "trigger")


def test_it_is_installed_and_its_doctor_names_the_secret_that_is_missing(scene: Scene) -> None:
    with pytest.raises(RuntimeError, match="sap-btp-manager"):
        scene.doctor()
    scene.person.create_operator(CR)
    scene.says("Error", "MissingSecret", "kyma-system/sap-btp-manager")
    scene.person.delete_operator(CR)
    scene.gone()


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


def test_an_operand_whose_image_is_missing_or_crashes_is_named_until_a_rollback(scene: Scene) -> None:
    patience = f"{PLAIN},settings.BTP_READY_TIMEOUT=30s"
    scene.sap.forget()
    scene.person.put_secret(scene.sap.credentials())
    helm(scene.node, "upgrade", RELEASE, MANAGER_CHART, "--set", f"{patience},settings.BTP_OPERAND_IMAGE={MISSING}")
    scene.until(scene.installed, "the upgrade to be rolled out")
    scene.person.create_operator(CR)
    scene.says("Error", "ProvisioningFailed", "ImagePull", MISSING)
    helm(scene.node, "upgrade", RELEASE, MANAGER_CHART, "--set", f"{patience},settings.BTP_OPERAND_IMAGE={CRASHING}")
    scene.says("Error", "ProvisioningFailed", "CrashLoopBackOff")
    helm(scene.node, "rollback", RELEASE, "1")
    scene.says("Ready", "ReconcileSucceeded")
    scene.person.delete_operator(CR)
    scene.gone()
    scene.until(scene.installed, "the rollback to be rolled out")


def test_a_deletion_ends_though_its_node_dies_and_comes_back(scene: Scene) -> None:
    scene.half_deleted()
    scene.node.die()
    scene.until(lambda: not scene.node.ready(), "the node to count as not ready")
    assert scene.person.status(CR) is not None
    scene.node.come_back()
    scene.gone()
    scene.until(scene.installed, "all pods to be back")


def test_it_is_not_uninstalled_while_a_cr_exists_and_leaves_nothing_running_afterwards(scene: Scene) -> None:
    scene.ready()
    with pytest.raises(RuntimeError):
        helm(scene.node, "uninstall", RELEASE, "--wait")
    assert scene.installed()
    scene.person.delete_operator(CR)
    scene.gone()
    helm(scene.node, "uninstall", RELEASE, "--wait")
    scene.until(lambda: not scene.pods("worker") and not scene.pods("trigger"), "the pods to be gone")
