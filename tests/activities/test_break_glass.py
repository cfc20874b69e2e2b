"""What the page says to do by hand, where neither Temporal nor the manager comes back. Against a real API server."""

from pathlib import Path

import pytest

from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    CHART_KINDS,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
)
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT, ControlPlane
from models.mandate import Mandate
from models.names import (
    ABANDONED_CONFIGMAP,
    CREDENTIALS_SECRET,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MANAGED_SECRETS,
    MANAGED_SELECTOR,
    OPERAND_CLUSTER_ID_SECRET,
    OPERAND_FINALIZER,
)
from tests.activities.steps import Steps
from tests.cluster import ensure_namespace
from tests.shell import Shell, block

PAGE = CHECKOUT / "docs" / "operations.md"


@pytest.fixture
async def service_objects(kube: Kube, steps: Steps, mandate: Mandate, credentials: dict[str, str]) -> None:
    """The operand is installed, without a process; an instance and a binding are held by its finalizer."""
    await steps.apply(mandate)
    team = await ensure_namespace(kube, "team-a")
    held = {"namespace": team, "finalizers": [OPERAND_FINALIZER]}
    for kind, name, spec in (
        (SERVICE_INSTANCES, "instance", {"serviceOfferingName": "xsuaa", "servicePlanName": "application"}),
        (SERVICE_BINDINGS, "binding", {"serviceInstanceName": "instance"}),
    ):
        meta = {"metadata": {"name": name, **held}}
        await kube.create(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **meta, "spec": spec})


async def test_the_pages_commands_remove_the_operand_and_nothing_of_the_users(
    control_plane: ControlPlane, kube: Kube, person: Person, service_objects: None, tmp_path: Path
) -> None:
    """The user's Secret carries our label, as docs/upgrade.md has it where the Go manager shall take over again."""
    person.put_secret({"INITIAL_CLUSTER_ID": "x"}, OPERAND_CLUSTER_ID_SECRET)
    await kube.merge(
        SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE, {"metadata": {"labels": {MANAGED_BY_LABEL: MANAGED_BY}}}
    )
    report = {"metadata": {"name": ABANDONED_CONFIGMAP, "namespace": KYMA_NAMESPACE}, "data": {"objects.jsonl": ""}}
    await kube.create(CONFIG_MAPS, report)
    credentials = await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    shell = Shell(control_plane, tmp_path)

    for line in block(PAGE, "configurations first. Then the rest:"):
        shell.run(line)

    left = await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    assert left and credentials and left["data"] == credentials["data"]
    assert await kube.find(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE)
    assert len((await kube.list(BTP_OPERATORS)).items) == 1
    for name in (*MANAGED_SECRETS, OPERAND_CLUSTER_ID_SECRET):
        assert await kube.find(SECRETS, name, KYMA_NAMESPACE) is None, name
    for kind in CHART_KINDS:
        names = {each["metadata"]["name"] for each in (await kube.list(kind, labels=MANAGED_SELECTOR)).items}
        assert names == ({CREDENTIALS_SECRET} if kind is SECRETS else set()), kind.kind
    assert await kube.find(CUSTOM_RESOURCE_DEFINITIONS, f"{BTP_OPERATORS.plural}.{BTP_OPERATORS.group}")
