"""A cluster is taken over from the Go manager, and given back: with the rights and the policy that the chart brings.

Its objects are made as it makes them, by PUT: a test that makes them by server-side apply cannot see what stays behind.
"""

import asyncio
import contextlib
import urllib.error
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from temporalio.client import Client

from activities.chart import ChartActivities
from activities.responsibility import ResponsibilityActivities
from activities.teardown import TeardownActivities
from dispatch.names import schedule_id
from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    VALIDATING_WEBHOOKS,
)
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.shipped import MANAGER_CHART, RELEASE, helm
from models.conditions import Reason
from models.mandate import Mandate
from models.names import (
    FINALIZER,
    KYMA_NAMESPACE,
    MANAGED_SELECTOR,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
    OPERAND_DEPLOYMENT,
    OPERAND_FINALIZER,
)
from models.operators import OperatorRef
from models.provision import Applied, Assessment, ChartInput
from operand.rendering import ChartRenderer
from runtime.identity import identity_of
from runtime.settings import WorkerSettings
from tests.acting import mandate_for, provision, removed
from tests.cluster import connected
from tests.conftest import OPERAND_CHART, Eventually
from tests.gomanager import Family, GoManager, deploy, remove_traces
from tests.shell import Shell, commands
from worker.schedule import ensure_resync

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("bare")]

WORKER: Final = f"{RELEASE}-worker"
TOLD: Final = {"ReadyTimeout": "7m", "EnableLimitedCache": "false"}
NO_PROCESS: Final = "worker.replicas=0,trigger.replicas=0"
SECRETS_PATH: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets"


@dataclass
class Manager:
    """Ours, with the worker's own token."""

    kube: Kube
    chart: ChartActivities
    mandate: Mandate

    async def standing(self) -> Assessment:
        return await provision(ResponsibilityActivities(self.kube).assess_operator, self.mandate)

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


@contextlib.asynccontextmanager
async def worker(control_plane: ControlPlane, mandate: Mandate, eventually: Eventually) -> AsyncIterator[Manager]:
    """What a worker of the installed chart would do, once the chart's policy is in force."""

    def policy_is_in_force() -> bool:
        try:
            control_plane.request("DELETE", f"{SECRETS_PATH}/sap-btp-manager?dryRun=All", user=WORKER)
        except urllib.error.HTTPError as error:
            return error.code == 422
        return False

    kube = await connected(control_plane.service_account(KYMA_NAMESPACE, WORKER))
    try:
        await eventually(lambda: asyncio.to_thread(policy_is_in_force))
        yield Manager(kube, ChartActivities(kube, ChartRenderer(OPERAND_CHART, rbac=False)), mandate)
    finally:
        await kube.close()


@pytest.fixture
async def ours(
    control_plane: ControlPlane, go_manager: GoManager, mandate: Mandate, person: Person, eventually: Eventually
) -> AsyncIterator[Manager]:
    """Our chart is installed, and no process runs: the test calls what a worker would."""
    helm(control_plane, "install", RELEASE, MANAGER_CHART, "--set", NO_PROCESS)
    try:
        async with worker(control_plane, mandate, eventually) as manager:
            yield manager
            person.delete_operator("btpoperator")
            await removed(TeardownActivities(manager.kube), mandate)
    finally:
        helm(control_plane, "uninstall", RELEASE, "--wait", "--no-hooks")


async def pods(kube: Kube) -> tuple[int, dict[str, Any]]:
    """The generation of the operand's Deployment, which also moves with annotations, and what its pods are."""
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


@pytest.mark.parametrize("go_manager", [Family.POSTED_THEN_PUT], indirect=True)
async def test_what_cannot_be_changed_is_replaced_with_the_rights_that_a_worker_has(
    ours: Manager, kube: Kube, control_plane: ControlPlane, person: Person
) -> None:
    await kube.delete(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    labels = {"app": "of-a-plain-installation"}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "o", "image": "example.com/operator"}]}}
    theirs = {"metadata": {"name": OPERAND_DEPLOYMENT}, "spec": {"selector": {"matchLabels": labels}, "template": pods}}
    control_plane.request("POST", DEPLOYMENTS.path(KYMA_NAMESPACE), theirs)
    for resource, name in ((CONFIG_MAPS, OPERAND_CONFIG), (SECRETS, OPERAND_CREDENTIALS_SECRET)):
        path = f"{resource.path(KYMA_NAMESPACE, name)}?fieldManager=theirs"
        control_plane.request("PATCH", path, {"immutable": True}, "application/merge-patch+json")
    person.put_secret(CREDENTIALS | {"clientid": "another", "cluster_id": "another"})
    await ours.look()
    deployment = await kube.get(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    assert "app" not in deployment["spec"]["selector"]["matchLabels"]
    assert (await kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE))["data"]["CLUSTER_ID"] == "another"
    assert await ours.drifted() == []


def operand_lacks(control_plane: ControlPlane) -> list[str]:
    """Which of the rights that it cannot work without the operand has not."""
    services = "services.cloud.sap.com"

    def may(group: str, resource: str, verb: str, namespace: str) -> bool:
        attributes = {"group": group, "resource": resource, "verb": verb, "namespace": namespace}
        account = f"system:serviceaccount:{KYMA_NAMESPACE}:sap-btp-operator"
        review = {"spec": {"user": account, "resourceAttributes": attributes}}
        answer = control_plane.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    needed = [
        ("", "secrets", "update", "team-a"),
        (services, "serviceinstances", "patch", "team-a"),
        (services, "servicebindings", "delete", "team-a"),
        ("", "events", "create", KYMA_NAMESPACE),
    ]
    return [f"{right[2]} {right[1]}" for right in needed if not may(*right)]


async def seen(kube: Kube) -> list[tuple[Any, ...]]:
    """What nobody may touch of the service objects."""
    return [
        (obj["metadata"]["uid"], obj["metadata"]["generation"], obj["metadata"]["finalizers"])
        for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)
        for obj in (await kube.list(resource)).items
    ]


async def put_to_use(control_plane: ControlPlane, kube: Kube, person: Person, theirs: GoManager) -> None:
    """An instance and a binding, as the operand has them. Without its process nobody answers its webhooks."""
    for resource in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS):
        for obj in (await kube.list(resource, labels=MANAGED_SELECTOR)).items:
            await kube.delete(resource, obj["metadata"]["name"])
    person.ensure_namespace("team-a")
    person.create_instance("team-a", "database")
    person.create_binding("team-a", "access", "database")
    for resource, name in ((SERVICE_INSTANCES, "database"), (SERVICE_BINDINGS, "access")):
        finalizers = {"metadata": {"finalizers": [OPERAND_FINALIZER]}}
        path = resource.path("team-a", name)
        control_plane.request("PATCH", f"{path}?fieldManager=manager", finalizers, "application/merge-patch+json")
    theirs.reconcile()


async def back(shell: Shell, page: Path, theirs: GoManager, kube: Kube, temporal: Client) -> None:
    """The steps back, with the first passes of the Go manager between them."""
    steps = commands(page, "Back to the Go manager")
    label, uninstall, let_go, start, drop_role, drop_election, end_resync, renew = steps
    here = await identity_of(kube, WorkerSettings())
    await ensure_resync(WorkerSettings(), here, temporal)
    shell.run(label)
    shell.run(uninstall)
    await kube.create(BTP_OPERATORS, operator_held_by("the-first"))
    shell.run(let_go.replace("NAMESPACE", KYMA_NAMESPACE).replace("NAME", "the-first"))
    await kube.delete(BTP_OPERATORS, "the-first", KYMA_NAMESPACE)
    assert await kube.find(BTP_OPERATORS, "the-first", KYMA_NAMESPACE) is None
    assert operand_lacks(shell.cluster) == []
    shell.run(start)
    theirs.reconcile()
    _, once = await pods(kube)
    theirs.reconcile()
    assert (await pods(kube))[1] == once, "the operand restarts once on the way back"
    assert "ca.key" in (await kube.get(SECRETS, "ca-server-cert", KYMA_NAMESPACE))["data"]
    shell.run(drop_role)
    shell.run(drop_election)
    said = shell.run(end_resync, "--temporal-address", temporal.service_client.config.target_host)
    assert said and said.returncode == 0 and f"schedule {schedule_id(here.task_queue)} is deleted" in said.stdout
    before = await certificates(kube)
    shell.run(renew)
    theirs.reconcile()
    after = await certificates(kube)
    assert [set(each) for each in after] == [set(each) for each in before] and after != before


async def certificates(kube: Kube) -> list[dict[str, str]]:
    return [
        (await kube.get(SECRETS, name, KYMA_NAMESPACE))["data"] for name in ("ca-server-cert", "webhook-server-cert")
    ]


def operator_held_by(name: str) -> dict[str, Any]:
    """A BtpOperator of this name that carries the finalizer."""
    metadata = {"name": name, "namespace": KYMA_NAMESPACE, "finalizers": [FINALIZER]}
    return {"apiVersion": BTP_OPERATORS.api_version, "kind": BTP_OPERATORS.kind, "metadata": metadata}


@pytest.mark.parametrize(
    "go_manager",
    [
        Family.POSTED_THEN_PUT,
        Family.APPLIED_THEN_PUT,
        Family.WITH_PROXY,
    ],
    indirect=True,
)
async def test_the_pages_steps_lead_to_this_manager_and_back_and_nobody_notices(
    go_manager: GoManager,
    control_plane: ControlPlane,
    kube: Kube,
    person: Person,
    ref: OperatorRef,
    temporal: Client,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    shell, page = Shell(control_plane, tmp_path), CHECKOUT / "docs" / "upgrade.md"
    look_first, prepare, columns, stop, install, drop_settings, drop_manager = commands(page, "From the Go manager")
    await deploy(kube, replicas=1)
    settings = {"metadata": {"name": "sap-btp-manager", "namespace": KYMA_NAMESPACE}, "data": dict(TOLD)}
    await kube.create(CONFIG_MAPS, settings)
    go_manager.claim("Ready", "ReconcileSucceeded")
    await put_to_use(control_plane, kube, person, go_manager)
    untouched, (generation, _) = await seen(kube), await pods(kube)
    certificate = (await kube.get(SECRETS, "webhook-server-cert", KYMA_NAMESPACE))["data"]
    try:
        said = shell.run(look_first)
        assert said and said.returncode == 1 and "1. stop the Go manager: kubectl" in said.stdout
        shell.run(prepare)
        shell.run(columns)
        shell.run(stop)
        said = shell.run(look_first)
        assert said and said.returncode == 0 and "the operand restarts once" in said.stdout
        shell.run(install, "--set", NO_PROCESS)
        processes = await kube.get(DEPLOYMENTS, WORKER, KYMA_NAMESPACE)
        environment = processes["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "BTP_READY_TIMEOUT", "value": "7m"} in environment
        operand = await kube.get(CONFIG_MAPS, f"{RELEASE}-operand-values", KYMA_NAMESPACE)
        assert "enable_limited_cache: false" in operand["data"]["operand-values.yaml"]
        async with worker(control_plane, await mandate_for(kube, ref), eventually) as ours:
            shell.run(stop.replace("replicas=0", "replicas=1"))
            aside = (await ours.standing()).finding
            assert aside and aside.reason is Reason.OTHER_MANAGER_RUNS
            shell.run(stop)
            assert (await ours.standing()).finding is None
            await ours.look()
            assert (await pods(kube))[0] == generation + 1 and await ours.drifted() == []
        assert (await kube.get(SECRETS, "webhook-server-cert", KYMA_NAMESPACE))["data"] == certificate
        assert (operand_lacks(control_plane), await seen(kube)) == ([], untouched)

        await back(shell, page, go_manager, kube, temporal)
        assert (operand_lacks(control_plane), await seen(kube)) == ([], untouched)
        shell.run(drop_settings)
        shell.run(drop_manager)
    finally:
        await remove_traces(kube)
        with contextlib.suppress(RuntimeError):  # the page's step has done it
            helm(control_plane, "uninstall", RELEASE, "--wait", "--no-hooks")
