"""What a release has is installed by Helm, and by kubectl alone, on a real API server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster.binaries import binary
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from localcluster.processes import wait_until
from localcluster.shipped import RELEASE, helm
from models.names import KYMA_NAMESPACE
from tests.conftest import Eventually
from tests.distribution.conftest import VERSION

pytestmark = pytest.mark.long

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/btpoperators.operator.kyma-project.io"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{KYMA_NAMESPACE}/deployments"


@pytest.fixture
def cluster() -> Iterator[ControlPlane]:
    """A cluster that never saw the manager: without its CRD."""
    with ControlPlane() as cluster:
        cluster.request("DELETE", CRD)
        wait_until(lambda: Person(cluster).get(CRD) is None, "the CRD to be gone")
        yield cluster


def kubectl(cluster: ControlPlane, *arguments: str | Path) -> str:
    command = [str(part) for part in (binary("kubectl"), *arguments)]
    environment = {"HOME": str(cluster.folder), "KUBECONFIG": str(cluster.kubeconfig()), "PATH": os.defpath}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def running(cluster: ControlPlane, eventually: Eventually) -> None:
    """Two workers and two triggers, with the image of this version."""
    person = Person(cluster)

    async def available() -> bool:
        found = [person.get(f"{DEPLOYMENTS}/{RELEASE}-{process}") or {} for process in ("worker", "trigger")]
        return [(each.get("status") or {}).get("availableReplicas") for each in found] == [2, 2]

    await eventually(available)
    worker = person.get(f"{DEPLOYMENTS}/{RELEASE}-worker") or {}
    (container,) = worker["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"btp-manager:{VERSION}"


async def test_helm_installs_the_packaged_chart(dist: Path, cluster: ControlPlane, eventually: Eventually) -> None:
    helm(cluster, "install", RELEASE, dist / f"btp-manager-{VERSION}.tgz")
    await running(cluster, eventually)
    kubectl(
        cluster, "wait", "--for=condition=established", "crd/btpoperators.operator.kyma-project.io", "--timeout=20s"
    )
    assert "btpoperator created" in kubectl(cluster, "apply", "-f", dist / "default-cr.yaml")


async def test_the_crd_of_another_version_is_applied_before_helm_upgrades(
    dist: Path, cluster: ControlPlane, eventually: Eventually, tmp_path: Path
) -> None:
    package = dist / f"btp-manager-{VERSION}.tgz"
    helm(cluster, "install", RELEASE, package)
    newer = tmp_path / "crds.yaml"
    shown = helm(cluster, "show", "crds", package)
    newer.write_text(shown.replace("shortNames: [btpop]", "shortNames: [other]"))
    assert newer.read_text() != shown
    with pytest.raises(AssertionError, match="conflict"):
        kubectl(cluster, "apply", "--server-side", "-f", newer)
    kubectl(cluster, "apply", "--server-side", "--force-conflicts", "-f", newer)
    assert (Person(cluster).get(CRD) or {})["spec"]["names"]["shortNames"] == ["other"]
    helm(cluster, "upgrade", RELEASE, package, "--reset-then-reuse-values")
    await running(cluster, eventually)


async def test_kubectl_applies_the_manifest_again_and_again_and_deletes_it(
    dist: Path, cluster: ControlPlane, eventually: Eventually
) -> None:
    apply = ("apply", "--server-side", "-f", dist / "prerequisites.yaml", "-f", dist / "btp-manager.yaml")
    kubectl(cluster, *apply)
    await running(cluster, eventually)
    before = (Person(cluster).get(f"{DEPLOYMENTS}/{RELEASE}-worker") or {})["metadata"]
    kubectl(cluster, *apply)
    after = (Person(cluster).get(f"{DEPLOYMENTS}/{RELEASE}-worker") or {})["metadata"]
    assert (before["uid"], before["generation"]) == (after["uid"], after["generation"])
    kubectl(
        cluster, "wait", "--for=condition=established", "crd/btpoperators.operator.kyma-project.io", "--timeout=20s"
    )
    assert "btpoperator created" in kubectl(cluster, "apply", "-f", dist / "default-cr.yaml")
    kubectl(cluster, "delete", "-f", dist / "default-cr.yaml")
    kubectl(cluster, "delete", "-f", dist / "btp-manager.yaml")
    assert Person(cluster).get(f"{DEPLOYMENTS}/{RELEASE}-worker") is None and Person(cluster).get(CRD) is None
