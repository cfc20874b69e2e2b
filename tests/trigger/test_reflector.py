"""List, then watch: what was missed is found, and what the server asks for is done. Faults come from a small fake."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kube.client import Kube, Object
from kube.errors import Expired, KubeError, Unavailable
from kube.reflector import Change, Reflector, Source
from kube.resources import CONFIG_MAPS
from models.names import KYMA_NAMESPACE


def config_map(name: str, value: str, version: str = "1") -> Object:
    return {"metadata": {"name": name, "namespace": "n", "resourceVersion": version}, "data": {"v": value}}


class Script:
    """An API that answers lists and watches as told; a list or a watch may be an error."""

    def __init__(self, *answers: list[Object] | KubeError) -> None:
        self._answers = list(answers)
        self.watched_from: list[str] = []

    async def pages(self, *_: object, **__: object) -> AsyncIterator[tuple[list[Object], str]]:
        answer = self._answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        yield answer, f"list-{len(self._answers)}"

    async def watch(self, *_: object, resource_version: str, **__: object) -> AsyncIterator[Object]:
        self.watched_from.append(resource_version)
        if not self._answers:
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        for event in answer:
            yield event


def digest(obj: Any) -> str:
    return str(obj["data"]["v"])


async def changes(script: Script, count: int) -> list[tuple[str, Any, Any]]:
    reflector = Reflector(script, Source(CONFIG_MAPS, digest))  # type: ignore[arg-type]
    found: list[Change] = []
    async with asyncio.timeout(10):
        async for change in reflector.changes():
            found.append(change)
            if len(found) == count:
                break
    return [(change.key[1], change.before, change.after) for change in found]


async def test_what_was_deleted_or_changed_while_away_is_found_by_the_next_list() -> None:
    script = Script(
        [config_map("a", "1"), config_map("b", "1")], Expired("too old"), [config_map("b", "2"), config_map("c", "1")]
    )
    assert await changes(script, 5) == [
        ("a", None, "1"),
        ("b", None, "1"),
        ("b", "1", "2"),
        ("c", None, "1"),
        ("a", "1", None),
    ]


async def test_a_watch_goes_on_from_the_last_version_and_bookmarks_count() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "99"}}}
    script = Script(
        [],
        [{"type": "ADDED", "object": config_map("a", "1", "7")}],
        [bookmark],
        [{"type": "DELETED", "object": config_map("a", "1", "100")}],
    )
    assert await changes(script, 2) == [("a", None, "1"), ("a", "1", None)]
    assert script.watched_from[1:3] == ["7", "99"]


async def test_doubled_events_and_changes_that_do_not_matter_are_no_changes() -> None:
    event = {"type": "MODIFIED", "object": config_map("a", "1", "2")}
    script = Script([config_map("a", "1")], [event, event, {"type": "MODIFIED", "object": config_map("a", "2", "3")}])
    assert await changes(script, 2) == [("a", None, "1"), ("a", "1", "2")]


@pytest.mark.parametrize(
    "error", [Unavailable("busy", status=429, retry_after=0.1), Unavailable("reset"), Expired("x")]
)
async def test_after_any_trouble_it_lists_again(error: KubeError) -> None:
    assert await changes(Script(error, [config_map("a", "1")]), 1) == [("a", None, "1")]


async def test_on_the_real_api_server_deletions_and_changes_arrive(kube: Kube) -> None:
    reflector = Reflector(
        kube, Source(CONFIG_MAPS, digest, KYMA_NAMESPACE, fields="metadata.name=watched", metadata_only=False)
    )
    seen: list[Change] = []

    async def follow() -> None:
        async for change in reflector.changes():
            seen.append(change)

    task = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(10):
            while not reflector.synced:
                await asyncio.sleep(0.01)
            meta = {"name": "watched", "namespace": KYMA_NAMESPACE}
            await kube.create(CONFIG_MAPS, {"metadata": meta, "data": {"v": "1"}})
            await kube.merge(CONFIG_MAPS, "watched", KYMA_NAMESPACE, {"data": {"v": "2"}})
            await kube.delete(CONFIG_MAPS, "watched", KYMA_NAMESPACE)
            while len(seen) < 3:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [(change.before, change.after) for change in seen] == [(None, "1"), ("1", "2"), ("2", None)]
