"""What `btpctl takeover` sees and prepares in clusters as the Go manager leaves them. Against a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from btpctl.cluster_checks import alone, go_settings
from btpctl.errors import CommandError
from btpctl.takeover import prepare_cluster
from btpctl.takeover_preflight import look
from kube.client import Kube
from kube.resources import BTP_OPERATORS, CONFIG_MAPS, PRIORITY_CLASSES
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from models.names import GO_MANAGER_SETTINGS, KYMA_NAMESPACE
from operand.rendering import ChartRenderer
from tests.cluster import ensure_namespace
from tests.conftest import OPERAND_CHART
from tests.gomanager import Family, GoManager, deploy, remove_traces


@pytest.fixture
async def cluster(kube: Kube) -> AsyncIterator[Kube]:
    yield kube
    await remove_traces(kube)


async def test_it_lists_every_cr_and_says_which_one_is_responsible_and_why(
    cluster: Kube, person: Person, control_plane: ControlPlane, credentials: dict[str, str]
) -> None:
    person.create_operator("btpoperator", await ensure_namespace(cluster, "default"))
    person.create_operator("btpoperator")
    GoManager(control_plane, Family.POSTED_THEN_PUT).claim("Ready", "ReconcileSucceeded")
    stray, real = sorted((await look(cluster)).operators)
    assert stray.startswith("default/btpoperator (since 2") and stray.endswith(
        "not responsible: kyma-system/btpoperator holds the finalizer; it will say Error/OlderCRExists"
    )
    assert "Ready/ReconcileSucceeded): responsible, as it holds the finalizer" in real
    await cluster.merge(BTP_OPERATORS, "btpoperator", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})
    assert sum("responsible, as no BtpOperator holds the finalizer" in each for each in (await look(cluster)).operators)


async def test_a_cluster_that_is_ready_for_it_needs_nothing_first(
    cluster: Kube, person: Person, credentials: dict[str, str]
) -> None:
    person.create_operator("btpoperator")
    seen = await look(cluster)
    assert (seen.first, seen.manager, seen.leftovers) == ([], "no Go manager is installed", [])
    assert await go_settings(cluster) == await alone(cluster) == (True, "none")
    assert "the operand restarts once" in seen.then


async def test_what_comes_first_is_said_in_order(
    cluster: Kube, person: Person, control_plane: ControlPlane, credentials: dict[str, str]
) -> None:
    await deploy(cluster, replicas=1)
    person.create_operator("btpoperator")
    theirs = GoManager(control_plane, Family.WITH_PROXY)
    await theirs.install(ChartRenderer(OPERAND_CHART), credentials)
    theirs.claim("Deleting", "HardDeleting", deleting=True)
    data = {"DeleteRequestTimeout": "1s", "EnableLimitedCache": "false"}
    meta = {"name": GO_MANAGER_SETTINGS, "namespace": KYMA_NAMESPACE}
    await cluster.create(CONFIG_MAPS, {"metadata": meta, "data": data})
    seen = await look(cluster)
    deletion, setting, stop = seen.first
    assert "a deletion would be carried out: kyma-system/btpoperator" in deletion
    assert setting.startswith("DeleteRequestTimeout: 1s cannot be kept (shorter than 10s")
    assert stop.startswith("stop the Go manager: kubectl -n kyma-system scale")
    assert "EnableLimitedCache: false -> operand.manager.enable_limited_cache: false" in seen.settings
    assert {"ClusterRole sap-btp-operator-proxy-role", "ConfigMap kyma-system/sap-btp-manager"} <= {
        each.split(": ")[0] for each in seen.leftovers
    }
    assert "controller:v0.11.10 -> the chart's, from ghcr.io/sap/" in seen.settings[-1]
    ok, text = await go_settings(cluster)
    assert not ok and text.startswith("ConfigMap kyma-system/sap-btp-manager is not read here")
    ok, text = await alone(cluster)
    assert not ok and "has replicas: 1" in text
    theirs.claim("Warning", "ServiceInstancesAndBindingsNotCleaned")
    again = await look(cluster)
    assert len(again.first) == 2 and "refused while service objects exist" in again.deletions


async def test_prepare_makes_what_is_missing_and_overwrites_nothing(
    cluster: Kube, person: Person, credentials: dict[str, str], tmp_path: Path
) -> None:
    meta = {"name": GO_MANAGER_SETTINGS, "namespace": KYMA_NAMESPACE}
    await cluster.create(CONFIG_MAPS, {"metadata": meta, "data": {"ReadyTimeout": "2m"}})
    await cluster.delete(PRIORITY_CLASSES, KYMA_NAMESPACE)
    seen, path = await look(cluster), tmp_path / "values.yaml"
    assert [step.split(":")[0] for step in seen.first] == [
        "make PriorityClass kyma-system, which the operand's pods name"
    ]
    assert len(await prepare_cluster(cluster, seen, path)) == 2
    assert yaml.safe_load(path.read_text()) == {"settings": {"BTP_READY_TIMEOUT": "2m"}}
    assert (await look(cluster)).first == []
    with pytest.raises(CommandError, match="--values names another file"):
        await prepare_cluster(cluster, seen, path)
