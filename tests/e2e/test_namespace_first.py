"""Somebody deletes the namespace kyma-system while a BtpOperator is there: the manager would go with it."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from kube.resources import NAMESPACES
from localcluster.binaries import binary
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.names import KYMA_NAMESPACE
from tests.e2e.deletion import Scene

pytestmark = pytest.mark.long

NAMESPACE = NAMESPACES.path(name=KYMA_NAMESPACE)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment() as environment:
        yield Scene(environment, sap)


def kubectl(scene: Scene, *arguments: str) -> str:
    """What an administrator is told."""
    command = [str(binary("kubectl")), *arguments]
    cluster = scene.environment.cluster
    environment = {"KUBECONFIG": str(cluster.kubeconfig()), "PATH": os.defpath, "HOME": str(cluster.folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_the_namespace_outlives_every_btpoperator_in_it_and_goes_when_there_is_none(scene: Scene) -> None:
    scene.ready()
    scene.make({"team-a": 1})
    refused = kubectl(scene, "delete", "namespace", KYMA_NAMESPACE)
    assert "BtpOperator kyma-system/btpoperator exists: delete it first, and wait until it is gone" in refused
    assert scene.state() == "Ready" and "deletionTimestamp" not in (scene.person.get(NAMESPACE) or {})["metadata"]
    scene.delete()
    assert scene.sap.instances == {}
    assert "deleted" in kubectl(scene, "delete", "namespace", KYMA_NAMESPACE, "--wait=false")
    scene.until(lambda: scene.person.get(NAMESPACE) is None, "the namespace to go", 60)
