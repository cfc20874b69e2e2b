"""A real API server, a stand-in Service Manager, and a report in between."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from activities.reclaim import ReclaimActivities
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
)
from localcluster.client import Person
from localcluster.servicemanager import CLUSTER_ID
from localcluster.servicemanager import ServiceManager as StandIn
from models.names import (
    ABANDONED_CONFIGMAP,
    ABANDONED_COUNT_ANNOTATION,
    KYMA_NAMESPACE,
    RECLAIM_PENDING_ANNOTATION,
    RECLAIM_SECRET,
    RECLAIM_WORKFLOW,
)
from models.operators import OperatorRef
from models.reclaim import Round, RoundInput, digest_of
from tests.acting import as_its_reclaim, in_a
from tests.cluster import ensure_namespace
from tests.conftest import OPERAND_CHART

REF = OperatorRef(namespace=KYMA_NAMESPACE, name="btpoperator", uid="11111111-0000-4000-8000-000000000000")


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with StandIn() as sap:
        yield sap


@pytest.fixture
def sap(server: StandIn) -> StandIn:
    server.forget()
    return server


DIGEST = digest_of(CLUSTER_ID)
CRDS = sorted(Path(OPERAND_CHART, "crds").iterdir())


class Stage:
    """What a soft delete left, and one round through it."""

    def __init__(self, kube: Kube, worker: Kube, person: Person, sap: StandIn) -> None:
        self.kube, self.worker = kube, worker
        self.person = person
        self.sap = sap
        self.environment = in_a(RECLAIM_WORKFLOW)

    def abandon(self, kind: str, name: str, sap_id: str = "?", **fields: Any) -> dict[str, Any]:
        """An object in SAP BTP and its line in the report. With `sap_id` only the line, with that id."""
        if sap_id == "?":
            plural = "service_bindings" if kind == "ServiceBinding" else "service_instances"
            instance = {"service_instance_id": fields.pop("instance")} if "instance" in fields else {}
            sap_id = self.sap.put(plural, "team-a", name, **instance)
        line = {"uid": f"uid-{kind}-{name}", "cr": REF.uid, "kind": kind, "namespace": "team-a", "name": name}
        return {**line, "sap_id": sap_id, "protected": False, **fields}

    async def report(self, *lines: dict[str, Any] | str, part: int = 1) -> None:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        name = ABANDONED_CONFIGMAP if part == 1 else f"{ABANDONED_CONFIGMAP}-{part}"
        meta = {"name": name, "namespace": KYMA_NAMESPACE}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"objects.jsonl": text}}
        await self.kube.apply(CONFIG_MAPS, body)

    async def lines(self) -> list[dict[str, Any]] | None:
        """What the report says; None if it is gone."""
        found = await self.kube.find(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE)
        if found is None:
            return None
        lines = [json.loads(line) for line in found["data"]["objects.jsonl"].splitlines()]
        notes = found["metadata"].get("annotations") or {}
        assert {found["data"].get("total"), notes.get(ABANDONED_COUNT_ANNOTATION)} <= {None, str(len(lines))}
        tried = [line for line in lines if line.get("reclaim", "").startswith(("refused", "under way", "waiting"))]
        assert notes.get(RECLAIM_PENDING_ANNOTATION, "0") == str(len(tried))
        return lines

    async def why(self) -> dict[str, str]:
        """By name, why it is still reported."""
        return {line["name"]: line.get("reclaim", "") for line in await self.lines() or []}

    def activities(self, any_address: bool = True) -> ReclaimActivities:
        return ReclaimActivities(self.worker, any_address)

    async def round(self, **scope: Any) -> Round:
        input = RoundInput(**{"cluster": await self.kube.cluster_uid(), "ref": REF, "cluster_digest": DIGEST, **scope})
        return await as_its_reclaim(self.environment, input).run(self.activities().reclaim_round, input)

    async def live(self, kind: str, name: str, sap_id: str = "", finalizers: tuple[str, ...] = ()) -> None:
        """An object that a user has in the cluster; the definitions come with the first."""
        for file in CRDS:
            await self.kube.apply(CUSTOM_RESOURCE_DEFINITIONS, yaml.safe_load(file.read_text()))
        await ensure_namespace(self.kube, "team-a")
        resource = SERVICE_BINDINGS if kind == "ServiceBinding" else SERVICE_INSTANCES
        spec = {"serviceInstanceName": "x"} if kind == "ServiceBinding" else {}
        spec |= {} if spec else {"serviceOfferingName": "offering", "servicePlanName": "plan"}
        meta = {"name": name, "namespace": "team-a", "finalizers": list(finalizers)}
        body = {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, "spec": spec}
        while True:
            try:
                await self.kube.create(resource, body)
                break
            except NotFound:
                continue  # the definition is served a moment later
        if sap_id:
            field = "bindingID" if kind == "ServiceBinding" else "instanceID"
            status = {"conditions": [], field: sap_id}
            await self.kube.merge(resource, name, "team-a", {"status": status}, subresource="status")

    async def events(self) -> dict[str, str]:
        found = await self.kube.list(EVENTS, KYMA_NAMESPACE)
        return {event["reason"]: event["message"] for event in found.items}


@pytest.fixture
async def stage(kube: Kube, worker: Kube, person: Person, sap: StandIn) -> AsyncIterator[Stage]:
    person.put_secret(sap.admin_credentials(), name=RECLAIM_SECRET)
    person.put_secret(sap.credentials())
    yield Stage(kube, worker, person, sap)
    await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
