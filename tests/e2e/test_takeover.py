"""A cluster is taken over from the Go manager, and given back: with the rights and the policy that the chart brings.

Its objects are made as it makes them, by PUT: a test that makes them by server-side apply cannot see what stays behind.
"""

import asyncio
import contextlib
import urllib.error
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from temporalio.exceptions import ApplicationError

from activities.chart import ChartActivities
from activities.teardown import TeardownActivities
from kube.client import Kube
from kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, DEPLOYMENTS, SECRETS
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import ControlPlane
from localcluster.environment import MANAGER_CHART, RELEASE, helm
from models.deprovision import TeardownInput
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE, MANAGED_SELECTOR, OPERAND_CREDENTIALS_SECRET, OPERAND_DEPLOYMENT
from models.provision import Applied, ChartInput
from operand.rendering import ChartRenderer
from tests.acting import deprovision, provision
from tests.conftest import OPERAND_CHART, Eventually
from tests.gomanager import Family, GoManager

WORKER: Final = f"{RELEASE}-worker"
SECRET_PATH: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets"


@dataclass
class Manager:
    """Ours, with the worker's own token."""

    kube: Kube
    chart: ChartActivities
    mandate: Mandate

    async def look(self) -> Applied:
        return await provision(self.chart.apply_chart, ChartInput(mandate=self.mandate))

    async def drifted(self) -> list[str]:
        return (await provision(self.chart.check_drift, ChartInput(mandate=self.mandate))).drifted


@pytest.fixture(params=list(Family), ids=lambda family: family.name)
async def go_manager(
    request: pytest.FixtureRequest, control_plane: ControlPlane, kube: Kube, credentials: dict[str, str]
) -> GoManager:
    """The operand as a release of the Go manager left it."""
    theirs = GoManager(control_plane, request.param)
    await theirs.install(ChartRenderer(OPERAND_CHART), credentials)
    return theirs


@pytest.fixture
async def ours(
    control_plane: ControlPlane,
    go_manager: GoManager,
    mandate: Mandate,
    person: Person,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Manager]:
    """Our chart is installed, its policy is in force, and no process runs: the test calls what a worker would."""
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", "worker.replicas=0,trigger.replicas=0")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.service_account(KYMA_NAMESPACE, WORKER)))
    kube = await Kube.from_environment()

    def policy_is_in_force() -> bool:
        try:
            control_plane.request("DELETE", f"{SECRET_PATH}/sap-btp-manager?dryRun=All", user=WORKER)
        except urllib.error.HTTPError as error:
            return error.code == 422
        return False

    try:
        await eventually(lambda: asyncio.to_thread(policy_is_in_force))
        yield Manager(kube, ChartActivities(kube, ChartRenderer(OPERAND_CHART, rbac=False)), mandate)
        person.delete_operator("btpoperator")
        await removed(TeardownActivities(kube), mandate)
    finally:
        await kube.close()
        with contextlib.suppress(RuntimeError):  # the test has done it
            helm(control_plane, "uninstall", RELEASE, "--wait", "--no-hooks")


async def removed(teardown: TeardownActivities, mandate: Mandate) -> None:
    """Attempts follow each other as in a workflow: the API server takes up to a minute to let a definition go."""
    for _ in range(4):
        with contextlib.suppress(ApplicationError):
            await deprovision(teardown.remove_resources, TeardownInput(mandate=mandate))
            return
    raise AssertionError("the operand was not removed in four attempts")


async def pods(kube: Kube) -> tuple[int, dict[str, Any]]:
    """The generation of the operand's Deployment, and what its pods are."""
    found = await kube.get(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return found["metadata"]["generation"], spec


async def test_what_the_go_manager_wrote_becomes_ours_in_one_rollout(ours: Manager, kube: Kube) -> None:
    generation, _ = await pods(kube)
    await ours.look()
    after, spec = await pods(kube)
    assert after == generation + 1, "the operand restarts once"
    assert [container["name"] for container in spec["containers"]] == ["manager"]
    assert "DROPPED_LATER" not in [each["name"] for each in spec["containers"][0].get("env", [])]
    again = await ours.look()
    assert (again.written, await ours.drifted(), (await pods(kube))[0]) == ([], [], after)
    left = [
        obj["metadata"]["name"]
        for kind in (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)
        for obj in (await kube.list(kind, labels=MANAGED_SELECTOR)).items
        if obj["metadata"]["name"].startswith("sap-btp-operator")
    ]
    assert left == []


@pytest.mark.parametrize("go_manager", [Family.POSTED_THEN_PUT, Family.APPLIED_THEN_PUT], indirect=True)
async def test_a_key_that_leaves_the_secret_leaves_the_operand_too(
    ours: Manager, go_manager: GoManager, kube: Kube, person: Person
) -> None:
    expired = {**CREDENTIALS, "tls.crt": "expired", "tls.key": "expired"}
    go_manager.rotate(expired)
    person.put_secret(expired)
    await ours.look()
    person.put_secret(CREDENTIALS)
    await ours.look()
    found = await kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE)
    assert "tls.crt" not in found["data"] and "tls.key" not in found["data"]
    assert await ours.drifted() == []
