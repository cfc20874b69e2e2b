"""What the tests of activities share."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import yaml

from kube.answers import Object
from kube.client import Kube
from kube.errors import KubeError
from kube.reflector import Reflector, Source
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.names import MANAGED_BY, MANAGED_BY_LABEL, OPERAND_FINALIZER
from operand.rendering import ChartRenderer
from operand.service_objects import is_held
from tests.activities.steps import Steps
from tests.conftest import OPERAND_CHART, Eventually


@pytest.fixture
def steps(worker: Kube, renderer: ChartRenderer) -> Steps:
    return Steps(worker, renderer)


@pytest.fixture
async def service_kinds(kube: Kube, eventually: Eventually) -> None:
    """The CRDs of the operand, and nothing else of it."""
    for file in (OPERAND_CHART / "crds").iterdir():
        crd = yaml.safe_load(file.read_text())
        crd["metadata"]["labels"] = {MANAGED_BY_LABEL: MANAGED_BY}
        await kube.apply(CUSTOM_RESOURCE_DEFINITIONS, crd)
    for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS):

        async def served(kind: Resource = resource) -> bool:
            with contextlib.suppress(KubeError):
                await kube.list(kind)
                return True
            return False

        await eventually(served)


@pytest.fixture
async def operand(kube: Kube, service_kinds: None, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Takes its finalizer off whatever is being deleted, and notes an instance that still has a binding of its own.

    What is called `stubborn` never goes: SAP BTP refuses it for ever.

    Its parameter: how many objects of a kind it works on side by side.
    """
    too_early: list[str] = []
    working: set[asyncio.Task[None]] = set()
    at_once = getattr(request, "param", 8)
    room = {resource: asyncio.Semaphore(at_once) for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)}
    looking = asyncio.Semaphore(8)

    async def let_go(resource: Resource, meta: Object) -> None:
        if resource is SERVICE_INSTANCES:
            async with looking:
                bindings = (await kube.list(SERVICE_BINDINGS, meta["namespace"])).items
            mine = [each for each in bindings if each["spec"]["serviceInstanceName"] == meta["name"]]
            too_early.extend(meta["name"] for _ in filter(is_held, mine))
        async with room[resource]:
            await kube.merge(resource, meta["name"], meta["namespace"], {"metadata": {"finalizers": None}})

    async def follow(resource: Resource) -> None:
        async for change in Reflector(kube, Source(resource, lambda obj: obj["metadata"])).changes():
            meta = change.after
            if (
                meta
                and meta["name"] != "stubborn"
                and meta.get("deletionTimestamp")
                and OPERAND_FINALIZER in (meta.get("finalizers") or [])
            ):
                working.add(asyncio.create_task(let_go(resource, meta)))

    tasks = [asyncio.create_task(follow(resource)) for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, *working, return_exceptions=True)
    assert not too_early, "an instance was asked to go before its own last binding was gone"
