"""The stand-in Service Manager answers as the facts say, well and badly, and counts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from localcluster.misbehaviour import Fault, bad_gateway, lost_answer, throttled, unknown_route
from localcluster.servicemanager import ServiceManager

INSTANCES, BINDINGS = "service_instances", "service_bindings"


@pytest.fixture(scope="module")
def server() -> Iterator[ServiceManager]:
    with ServiceManager() as sap:
        yield sap


@pytest.fixture
def sap(server: ServiceManager) -> ServiceManager:
    server.forget()
    return server


@asynccontextmanager
async def talking(sap: ServiceManager) -> AsyncIterator[aiohttp.ClientSession]:
    known = sap.admin_credentials()
    form = {"client_id": known["clientid"], "client_secret": known["clientsecret"]}
    async with aiohttp.ClientSession(sap.url) as session:
        async with session.post("/oauth/token", data=form) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session


async def ask(session: aiohttp.ClientSession, method: str, path: str, **query: str) -> tuple[int, Any]:
    async with session.request(method, path, params=query) as answer:
        return answer.status, await answer.json()


async def test_a_token_expires(sap: ServiceManager) -> None:
    sap.token_seconds = 0.0
    async with talking(sap) as session:
        assert (await ask(session, "GET", f"/v1/{INSTANCES}"))[0] == 401


async def test_queries_by_field_and_label_find_what_matches_all_terms_page_by_page(sap: ServiceManager) -> None:
    ours = {sap.put(INSTANCES, "team-a", f"it's-{number}") for number in range(5)}
    sap.put(INSTANCES, "team-b", "it's-0")
    sap.put(INSTANCES, "team-a", "it's-0", "another-cluster")
    sap.page = 2
    found: list[dict[str, Any]] = []
    async with talking(sap) as session:
        query = {
            "fieldQuery": "context/clusterid eq 'stand-in-cluster-Ty6'",
            "labelQuery": "_namespace eq 'team-a' and _clusterid eq 'stand-in-cluster-Ty6'",
        }
        token: str | None = ""
        while token is not None:
            _, page = await ask(session, "GET", f"/v1/{INSTANCES}", **query, token=token)
            assert len(page["items"]) <= 2 and page["num_items"] == 5
            found += page["items"]
            token = page.get("token")
        assert {item["id"] for item in found} == ours
        one = await ask(session, "GET", f"/v1/{INSTANCES}", labelQuery="_k8sname eq 'it''s-0'", fieldQuery="")
        assert one[1]["num_items"] == 3
        assert (await ask(session, "GET", f"/v1/{INSTANCES}", labelQuery="_k8sname eq 'a' or true"))[0] == 400


async def test_an_accepted_deletion_is_done_later_and_told_by_its_operation(sap: ServiceManager) -> None:
    sap.asynchronous = 0.1
    identity, stubborn = sap.put(INSTANCES, "team-a", "a"), sap.put(INSTANCES, "team-a", "stubborn")
    sap.refused.add("stubborn")
    async with talking(sap) as session:
        operations = {}
        for each in (identity, stubborn):
            async with session.delete(f"/v1/{INSTANCES}/{each}") as answer:
                assert answer.status == 202
                operations[each] = answer.headers["Location"]
        status, body = await ask(session, "DELETE", f"/v1/{INSTANCES}/{identity}")
        assert (status, body["error"]) == (422, "ConcurrentOperationInProgress")
        assert (await ask(session, "GET", operations[identity]))[1]["state"] == "in progress"
        await asyncio.sleep(0.2)
        assert (await ask(session, "GET", operations[identity]))[1]["state"] == "succeeded"
        failed = (await ask(session, "GET", operations[stubborn]))[1]
        assert failed["state"] == "failed" and "active subscriptions" in failed["errors"]["description"]
    assert list(sap.instances) == [stubborn]


async def test_an_instance_with_bindings_or_references_or_an_operation_is_refused(sap: ServiceManager) -> None:
    shared = sap.put(INSTANCES, "team-a", "shared", shared=True)
    sap.put(INSTANCES, "team-b", "reference", referenced_instance_id=shared)
    bound, busy = sap.put(INSTANCES, "team-a", "bound"), sap.put(INSTANCES, "team-a", "busy")
    sap.put(BINDINGS, "team-a", "binding", service_instance_id=bound)
    sap.busy.add("busy")
    async with talking(sap) as session:
        answers = [await ask(session, "DELETE", f"/v1/{INSTANCES}/{each}") for each in (shared, bound, busy)]
    assert [status for status, _ in answers] == [400, 400, 422]
    assert "reference" in answers[0][1]["description"] and "existing bindings" in answers[1][1]["description"]
    assert (len(sap.instances), sap.refusals_for_bindings) == (4, 1)


async def test_it_can_throttle_lose_its_route_fail_be_slow_and_lose_an_answer(sap: ServiceManager) -> None:
    identity = sap.put(INSTANCES, "team-a", "a")
    path = f"/v1/{INSTANCES}/{identity}"
    sap.faults = [throttled("7"), unknown_route(), bad_gateway(), Fault(seconds=0.2), lost_answer("DELETE")]
    async with aiohttp.ClientSession(sap.url) as nobody:
        async with nobody.delete(path) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        async with nobody.delete(path) as answer:
            assert (answer.status, answer.headers["X-Cf-RouterError"]) == (404, "unknown_route")
        async with nobody.delete(path) as answer:
            assert answer.status == 502
    async with talking(sap) as session:  # its token comes slowly
        assert (await ask(session, "DELETE", path))[0] == 404  # aiohttp hears nothing, and asks again by itself
    assert sap.calls["DELETE", INSTANCES, identity] == 5
    assert sap.callers == {"admin": 2}
    assert sap.deleted() == {identity}
