"""Every way in which provisioning can stand still, seen on a CR in a real API server."""

import asyncio
import shutil
from pathlib import Path

import pytest
from temporalio.client import Client

from dispatch.names import workflow_id
from dispatch.nudger import Nudger
from kube.client import Kube
from kube.resources import BTP_OPERATORS, NAMESPACES
from localcluster.client import Person
from models.conditions import MEANING, Reason, ready_condition
from models.limits import Limits, OperandTeardown
from models.names import KYMA_NAMESPACE
from models.operators import Operator, OperatorRef
from operand.rendering import ChartRenderer
from tests.acting import administrator, mandate_for, refuse_administrators
from tests.cluster import encoded
from tests.conftest import OPERAND_CHART, Eventually
from worker.__main__ import build_worker

pytestmark = pytest.mark.long


async def look(client: Client, worker: Kube, renderer: ChartRenderer, ref: OperatorRef, limits: Limits) -> str:
    """One look at a CR by a worker in this process. Returns the CR's message and checks state against reason."""
    refuse_administrators(worker)
    mandate, task_queue = await mandate_for(worker, ref), f"test-{ref.uid}"
    async with build_worker(client, worker, renderer, task_queue):
        await Nudger(client, task_queue, mandate.cluster, limits, OperandTeardown.AUTO).nudge(ref, deleting=False)
        await client.get_workflow_handle(workflow_id(mandate, task_queue)).result()
    status = (await worker.get(BTP_OPERATORS, ref.name, ref.namespace))["status"]
    condition = ready_condition(status)
    assert status["state"] == MEANING[Reason(condition["reason"])].state
    return f"{condition['reason']}: {condition['message']}"


async def test_a_chart_that_does_not_render(
    temporal: Client, worker: Kube, ref: OperatorRef, credentials: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(OPERAND_CHART, tmp_path / "chart")
    (tmp_path / "chart" / "templates" / "broken.yaml").write_text("{{ .Values.manager.secret.data | fail }}")
    said = await look(temporal, worker, ChartRenderer(tmp_path / "chart", rbac=False), ref, Limits())
    assert said.startswith("PreparingInstallInfoFailed: chart chart does not render: ")
    identity = workflow_id(await mandate_for(worker, ref), f"test-{ref.uid}")
    history = await temporal.get_workflow_handle(identity).fetch_history()
    raw = b"".join(event.SerializeToString() for event in history.events)
    assert b"does not render" in raw
    for value in [*credentials.values(), *encoded(credentials).values()]:
        assert value not in said and value.encode() not in raw


async def test_an_object_that_the_api_refuses(
    temporal: Client, worker: Kube, ref: OperatorRef, credentials: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(OPERAND_CHART, tmp_path / "chart")
    services = tmp_path / "chart" / "templates" / "services.yaml"
    services.write_text(services.read_text().replace("port: 8080", "port: 99999"))
    said = await look(temporal, worker, ChartRenderer(tmp_path / "chart", rbac=False), ref, Limits())
    assert said.startswith(
        "ChartInstallFailed: Service kyma-system/sap-btp-operator-controller-manager-metrics-service"
    )
    assert "99999" in said


async def test_something_that_does_not_become_ready(
    temporal: Client, worker: Kube, ref: OperatorRef, credentials: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(OPERAND_CHART, tmp_path / "chart")
    values = tmp_path / "chart" / "values.yaml"
    values.write_text(values.read_text().replace("nodeSelector: {}", "nodeSelector: {no: such-node}"))
    limits = Limits.model_validate({"ready_timeout": 4})
    said = await look(temporal, worker, ChartRenderer(tmp_path / "chart", rbac=False), ref, limits)
    assert said.startswith(
        "ProvisioningFailed: not ready within 4s: Deployment kyma-system/sap-btp-operator-controller"
    )
    assert "Unschedulable" in said


async def test_no_namespace_kyma_system(
    temporal: Client, kube: Kube, person: Person, renderer: ChartRenderer, eventually: Eventually
) -> None:
    ref = Operator.from_object(person.create_operator("homeless", namespace="default")).ref
    await kube.delete(NAMESPACES, KYMA_NAMESPACE)
    try:

        async def gone() -> bool:
            return await kube.find(NAMESPACES, KYMA_NAMESPACE) is None

        await eventually(gone)
        worker = administrator(kube, "a worker that is installed there is gone with its namespace")
        said = await look(temporal, worker, renderer, ref, Limits())
        assert said == (
            "MissingNamespace: Namespace kyma-system does not exist; create it, then Secret sap-btp-manager in it"
        )
    finally:
        await kube.create(NAMESPACES, {"metadata": {"name": KYMA_NAMESPACE}})
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("spec", [None, {}, {"unknown": 1}])
async def test_a_spec_of_any_shape_is_accepted_and_says_what_is_missing(
    temporal: Client, kube: Kube, worker: Kube, renderer: ChartRenderer, spec: object
) -> None:
    body = {
        "apiVersion": BTP_OPERATORS.api_version,
        "kind": "BtpOperator",
        "metadata": {"name": "odd", "namespace": KYMA_NAMESPACE},
        "spec": spec,
    }
    ref = Operator.from_object(await kube.create(BTP_OPERATORS, body)).ref
    assert (await look(temporal, worker, renderer, ref, Limits())).startswith("MissingSecret: ")
