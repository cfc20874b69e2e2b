"""The definitions of service objects may be another operand's: with other versions, and fields of any type."""

from collections.abc import AsyncIterator

import pytest
from temporalio.exceptions import ApplicationError

from kube.answers import Object
from kube.client import Kube
from kube.errors import NotFound, Refused, Unavailable
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICE_BINDINGS, SERVICE_INSTANCES
from models.mandate import Mandate
from models.names import OPERAND_FINALIZER, STILL_WAITING
from operand.living import look_at_living_objects
from operand.service_objects import ServiceObject, is_operand_needed
from tests.activities.deletion import an_object, count, hard_delete, seed, soft_delete
from tests.cluster import ensure_namespace
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
        found: list[bool | None] = []
        for kind in (SERVICE_BINDINGS, SERVICE_INSTANCES):
            try:
                found.append(bool(await kube.list(kind)))
            except NotFound:
                found.append(False)
            except Unavailable:
                found.append(None)  # the API server changes over to the new definition
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


@pytest.fixture
async def anything_goes(kube: Kube, service_kinds: None, eventually: Eventually) -> None:
    """Another operand's definition, with objects whose fields are of other types than ours say."""
    name = f"{SERVICE_INSTANCES.plural}.{SERVICE_INSTANCES.group}"
    crd = await kube.get(CUSTOM_RESOURCE_DEFINITIONS, name)
    anything = {"schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    versions = [{**version, **anything, "subresources": None} for version in crd["spec"]["versions"]]
    await kube.merge(CUSTOM_RESOURCE_DEFINITIONS, name, None, {"spec": {"versions": versions}})
    await ensure_namespace(kube, "many-0")
    odd: list[Object] = [
        {"spec": "odd"},
        {"spec": [1]},
        {"spec": {"watchParametersFromChanges": 1, "parametersFrom": {"a": "b"}}},
    ]
    odd += [{"spec": {"watchParametersFromChanges": True, "parametersFrom": each}} for each in (["a", None], 7)]
    odd += [{"spec": {"watchParametersFromChanges": True, "parametersFrom": [{"secretKeyRef": "b"}]}}]
    odd += [
        {"status": each} for each in ("odd", 1, {"conditions": "odd"}, {"conditions": ["odd", None]}, {"conditions": 1})
    ]
    odd += [{"status": {"conditions": [{"type": ["Succeeded"], "reason": 7}], "instanceID": {"a": []}}}]
    for number, fields in enumerate(odd):
        meta = {"name": f"odd-{number}", "namespace": "many-0", "finalizers": [OPERAND_FINALIZER]}

        async def taken(meta: Object = meta, fields: Object = fields) -> bool:
            try:
                await kube.create(SERVICE_INSTANCES, {**an_object(SERVICE_INSTANCES, meta, {}), **fields})
            except (Refused, Unavailable):
                return False  # the new schema is in force a moment later
            return True

        await eventually(taken)


async def test_objects_with_fields_of_other_types_are_counted_asked_for_and_let_go_like_others(
    kube: Kube, worker: Kube, anything_goes: None, deletion: Mandate
) -> None:
    there = len((await kube.list(SERVICE_INSTANCES)).items)
    assert there == (await count(worker, deletion)).instances > 9
    with pytest.raises(ApplicationError, match="left") as waiting:
        await hard_delete(worker, deletion, seconds=3)
    assert waiting.value.type == STILL_WAITING and f"{there} ServiceInstances left" in waiting.value.message
    assert len((await look_at_living_objects(worker)).names) == there
    result = await soft_delete(worker, deletion)
    assert result.abandoned_total == there and (await count(worker, deletion)).none


async def test_an_attempt_that_cannot_follow_what_it_waits_for_fails_instead_of_waiting(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(kube, 1, 1)

    def digest(obj: Object) -> object:
        raise RuntimeError("a defect")

    monkeypatch.setattr(ServiceObject, "digest", digest)
    with pytest.raises(ApplicationError, match="a defect of this program: RuntimeError"):
        await hard_delete(worker, deletion, seconds=10)
