"""List, then watch, through a proxy in front of the real API server that fails in every known way."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog

from kube import reader
from kube.client import Kube
from kube.reflector import Change, Reflector, Source
from kube.resources import CONFIG_MAPS
from localcluster.controlplane import ControlPlane
from localcluster.faults import Fault, FaultProxy
from localcluster.shipped import Shipped
from models.names import KYMA_NAMESPACE
from tests.cluster import connected

NAMESPACE = KYMA_NAMESPACE
"""Whose ConfigMaps a trigger may follow."""


def digest(obj: Any) -> str:
    return str(obj["data"]["v"])


class Following:
    """A reflector at work, and everything it said."""

    def __init__(self, kube: Kube, **options: Any) -> None:
        source = Source(CONFIG_MAPS, digest, NAMESPACE, labels="watched=yes", metadata_only=False)
        self.reflector = Reflector(kube, source, **options)
        self.seen: list[Change] = []

    async def run(self) -> None:
        async for change in self.reflector.changes():
            self.seen.append(change)

    @property
    def said(self) -> list[tuple[str, Any, Any]]:
        return [(change.key[1], change.before, change.after) for change in self.seen]

    async def until(self, true: Callable[[], object], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not true():
                await asyncio.sleep(0.01)

    async def knows(self, **values: str) -> None:
        await self.until(lambda: {key[1]: value for key, value in self.reflector.known.items()} == values)


Follow = Callable[..., contextlib.AbstractAsyncContextManager[Following]]


@pytest.fixture(scope="module")
def proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    with FaultProxy(control_plane) as started:
        yield started


@pytest.fixture
async def follow(kube: Kube, proxy: FaultProxy, shipped: Shipped) -> AsyncIterator[Follow]:
    """Starts a reflector behind the proxy; a ConfigMap `a` is there from the beginning."""
    proxy.clear()
    proxy.requests.clear()
    await kube.delete_collection(CONFIG_MAPS, NAMESPACE, fields="metadata.name!=kube-root-ca.crt")
    await put(kube, "a", "1")
    behind = await connected(shipped.kubeconfig("trigger", proxy.url))

    @contextlib.asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[Following]:
        following = Following(behind, **options)
        task = asyncio.create_task(following.run())
        try:
            yield following
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    yield start
    await behind.close()


async def put(kube: Kube, name: str, value: str) -> None:
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"watched": "yes"}}
    await kube.apply(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"v": value}})


async def test_what_is_there_comes_first_and_then_every_change(kube: Kube, follow: Follow) -> None:
    async with follow() as following:
        await following.until(lambda: following.reflector.synced)
        await put(kube, "b", "1")
        await put(kube, "b", "2")
        await kube.merge(CONFIG_MAPS, "b", NAMESPACE, {"metadata": {"annotations": {"no": "matter"}}})
        await kube.delete(CONFIG_MAPS, "b", NAMESPACE)
        await following.until(lambda: len(following.seen) == 4)
    assert following.said == [("a", None, "1"), ("b", None, "1"), ("b", "1", "2"), ("b", "2", None)]


async def test_a_watch_that_the_server_ends_is_followed_by_a_list_that_brings_nothing_new(
    kube: Kube, follow: Follow, proxy: FaultProxy
) -> None:
    async with follow(watch_seconds=2) as following:
        await following.until(lambda: proxy.requests["WATCH"] >= 3)
        assert following.reflector.synced
        await put(kube, "b", "1")
        await following.knows(a="1", b="1")
    assert proxy.requests["GET"] == proxy.requests["WATCH"]
    assert following.said == [("a", None, "1"), ("b", None, "1")]


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        pytest.param(Fault(watch=True, deaf=True), {"watch_seconds": 2}, id="told nothing, and ended in order"),
        pytest.param(Fault(watch=True, silent=True), {"silence": 1.2}, id="half-open"),
    ],
)
async def test_what_a_watch_does_not_tell_is_found_although_no_watch_ever_tells_anything(
    kube: Kube, follow: Follow, proxy: FaultProxy, fault: Fault, options: dict[str, Any]
) -> None:
    proxy.add(fault)
    with structlog.testing.capture_logs() as lines:
        async with follow(**options) as following:
            await following.until(lambda: proxy.watching)
            await put(kube, "b", "1")
            await kube.delete(CONFIG_MAPS, "a", NAMESPACE)
            await following.knows(b="1")
            assert following.reflector.synced and not following.reflector.trouble
    assert lines == []  # nothing is wrong with a watch that has nothing to tell


async def test_a_version_that_went_back_leads_to_a_list_at_once(kube: Kube, follow: Follow, proxy: FaultProxy) -> None:
    fault = proxy.add(Fault(watch=True, rewind=True, times=1))
    async with follow() as following:
        await following.until(lambda: proxy.watching)
        await put(kube, "b", "1")  # this is what the bookmark takes the place of
        await following.knows(a="1", b="1")
        await following.until(lambda: following.reflector.synced and proxy.watching)
    assert fault.hits == 1 and proxy.requests["GET"] == 2


async def test_only_the_servers_words_count_for_how_long_ago_it_said_something(
    kube: Kube, follow: Follow, proxy: FaultProxy
) -> None:
    proxy.add(Fault(watch=True, silent=True))
    async with follow() as following:
        await following.until(lambda: following.reflector.synced)
        listed = following.reflector.heard
        await following.until(lambda: proxy.watching)
        await asyncio.sleep(0.3)
        assert following.reflector.heard == listed
        proxy.clear()
        proxy.hang_up()
        await following.until(lambda: following.reflector.heard > listed)


async def test_watches_that_began_together_do_not_end_together(follow: Follow, proxy: FaultProxy) -> None:
    proxy.queries.clear()
    async with follow(), follow(), follow() as last:
        await last.until(lambda: proxy.watching == 3)
    seconds = {int(query.partition("timeoutSeconds=")[2].partition("&")[0]) for query in proxy.queries}
    assert len(seconds) > 1 and seconds <= set(range(232, 291))


async def test_a_bookmark_moves_the_clock_of_the_last_word(kube: Kube, follow: Follow, proxy: FaultProxy) -> None:
    async with follow(watch_seconds=8) as following:
        await following.until(lambda: proxy.watching)
        await asyncio.sleep(0.5)
        opened = following.reflector.heard
        meta = {"name": "unwatched", "namespace": NAMESPACE, "labels": {"at": str(int(time.time()))}}
        await kube.apply(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        # The API server sends a bookmark two seconds before it ends a watch, if it has seen anything new.
        await following.until(lambda: following.reflector.heard > opened)
        assert proxy.requests["WATCH"] == 1
    assert following.said == [("a", None, "1")]


async def test_what_was_deleted_and_changed_while_the_connection_was_away_is_found_by_the_next_list(
    kube: Kube, follow: Follow, proxy: FaultProxy
) -> None:
    await put(kube, "b", "1")
    async with follow() as following:
        await following.until(lambda: following.reflector.synced and proxy.watching)
        proxy.add(Fault(reset=True))
        proxy.hang_up()
        await following.until(lambda: not following.reflector.synced)
        await kube.delete(CONFIG_MAPS, "a", NAMESPACE)
        await put(kube, "b", "2")
        proxy.clear()
        await following.knows(b="2")
        await following.until(lambda: len(following.seen) == 4)
    assert set(following.said[2:]) == {("a", "1", None), ("b", "1", "2")}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(watch=True, times=1, expire=True), id="410 inside the watch"),
        pytest.param(Fault(watch=True, times=1, status=410), id="410"),
        pytest.param(Fault(watch=True, times=2, status=500), id="500"),
        pytest.param(Fault(watch=True, times=1, status=504), id="504"),
        pytest.param(Fault(watch=True, times=2, status=401), id="a token that is being renewed"),
        pytest.param(Fault(watch=True, times=2, reset=True), id="reset"),
        pytest.param(Fault(watch=True, times=2, truncate=True), id="a line cut in the middle"),
        pytest.param(Fault(watch=True, times=1, silent=True), id="half-open"),
        pytest.param(Fault(watch=True, times=2, body=b"<html>"), id="not JSON"),
        pytest.param(Fault(watch=True, times=2, body=b'{"type": "ADDED"}\n'), id="an event without an object"),
        pytest.param(Fault(watch=True, times=2, body=b'["ADDED"]\n'), id="an event that is none"),
        pytest.param(Fault(watch=True, times=3, body=b""), id="ended at once"),
        pytest.param(Fault(watch=False, times=2, status=429, retry_after="0"), id="429 to the list"),
        pytest.param(Fault(watch=False, times=2, status=403), id="403 to the list"),
        pytest.param(Fault(watch=False, times=2, reset=True), id="list reset"),
        pytest.param(Fault(watch=False, times=2, body=b"[]"), id="a list that is none"),
        pytest.param(Fault(watch=False, times=2, body=b'{"items": [{}]}'), id="an object without metadata"),
    ],
)
async def test_after_any_trouble_it_lists_again_and_misses_nothing(
    kube: Kube, follow: Follow, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.add(fault)
    with structlog.testing.capture_logs() as lines:
        async with follow(silence=1.0) as following:
            await following.until(lambda: fault.hits)
            await put(kube, "b", "1")
            await put(kube, "a", "2")
            await following.until(lambda: fault.hits == fault.times)
            await following.knows(a="2", b="1")
            await following.until(lambda: following.reflector.synced)
    assert len([line for line in lines if line["log_level"] == "warning"]) <= 1  # one for a state, not for a retry


async def test_a_busy_server_is_given_the_time_it_asks_for(follow: Follow, proxy: FaultProxy) -> None:
    fault = proxy.add(Fault(watch=False, times=1, status=429, retry_after="2"))
    async with follow() as following:
        await following.until(lambda: fault.hits)
        refused = time.monotonic()
        await following.until(lambda: following.reflector.synced)
    assert time.monotonic() - refused > 1.9  # two seconds, of which the first moments passed before this clock began


async def test_lists_are_read_in_pages_and_begun_anew_when_a_page_has_expired(
    kube: Kube, follow: Follow, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PAGE", 2)
    for name in "bcde":
        await put(kube, name, "1")
    fault = proxy.add(Fault(path="continue=", times=1, status=410))
    async with follow() as following:
        await following.until(lambda: following.reflector.synced)
        await following.knows(a="1", b="1", c="1", d="1", e="1")
    assert fault.hits == 1
    assert proxy.requests["GET"] == 2 + 3
    assert len(following.seen) == 5  # none is said twice


async def test_doubled_and_reordered_events_change_nothing(kube: Kube, follow: Follow, proxy: FaultProxy) -> None:
    proxy.add(Fault(watch=True, shuffle=True))
    async with follow() as following:
        await following.until(lambda: following.reflector.synced)
        for value in "123":
            await asyncio.gather(*(put(kube, name, value) for name in "bcd"))
        await kube.delete(CONFIG_MAPS, "c", NAMESPACE)
        await following.knows(a="1", b="3", d="3")
    assert [change for change in following.said if change[1] == change[2]] == []


async def test_a_hundred_interruptions_leave_neither_tasks_nor_connections(
    follow: Follow, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kube.backoff.LONGEST_PAUSE", 0.01)
    async with follow() as following:
        await following.until(lambda: following.reflector.synced)
        tasks = len(asyncio.all_tasks())
        for number in range(2, 102):
            while proxy.requests["GET"] < number:
                proxy.hang_up()
                await asyncio.sleep(0.02)
        await following.until(lambda: following.reflector.synced and proxy.watching == 1)
        assert len(asyncio.all_tasks()) <= tasks
    await following.until(lambda: proxy.watching == 0)
