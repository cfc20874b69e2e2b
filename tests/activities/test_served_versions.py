"""The operand's definitions may serve their objects in another version than the one that is read."""

from collections.abc import AsyncIterator

import pytest
from temporalio.exceptions import ApplicationError

from kube.client import Kube
from kube.errors import NotFound, Unavailable
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICE_BINDINGS, SERVICE_INSTANCES
from models.mandate import Mandate
from operand.living import look_at_living_objects
from operand.service_objects import is_operand_needed
from tests.activities.deletion import count, hard_delete, seed, soft_delete
from tests.conftest import Eventually


@pytest.fixture
async def another_version(kube: Kube, service_kinds: None, eventually: Eventually) -> AsyncIterator[None]:
    """The definitions are there, and serve their objects in another version than the one that is read."""
    names = [f"{kind.plural}.{kind.group}" for kind in (SERVICE_BINDINGS, SERVICE_INSTANCES)]
    await seed(kube, 1, 1)

    async def serve(*versions: str) -> None:
        for name in names:
            found = await kube.get(CUSTOM_RESOURCE_DEFINITIONS, name)
            (v1,) = [version for version in found["spec"]["versions"] if version["name"] == "v1"]
            both = [{**v1, "served": "v1" in versions}, {**v1, "name": "v2", "storage": False}]
            patch = {"spec": {"versions": both[: 1 + ("v2" in versions)]}}
            await kube.merge(CUSTOM_RESOURCE_DEFINITIONS, name, None, patch)

    async def reads(as_v1: bool) -> bool:
        found = []
        for kind in (SERVICE_BINDINGS, SERVICE_INSTANCES):
            try:
                found.append(bool(await kube.list(kind)))
            except NotFound:
                found.append(False)
        return found == [as_v1, as_v1]

    await serve("v2")
    await eventually(lambda: reads(False))
    yield
    await serve("v1")
    await eventually(lambda: reads(True))


async def test_objects_that_are_served_in_another_version_only_are_neither_forgotten_nor_taken_for_gone(
    kube: Kube, worker: Kube, another_version: None, deletion: Mandate, mandate: Mandate
) -> None:
    """Who takes them for gone removes the operand, which alone could delete them, and reports nothing as abandoned."""
    for look in (count, hard_delete, soft_delete):
        with pytest.raises(ApplicationError, match="is there, and does not serve v1") as error:
            await look(worker, deletion)
        assert error.value.type in ("Unavailable", "Passing") and not error.value.non_retryable
    with pytest.raises(Unavailable, match="is there, and does not serve v1"):
        await look_at_living_objects(worker)
    assert await is_operand_needed(worker)
