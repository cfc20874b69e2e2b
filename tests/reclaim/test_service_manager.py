"""The client of Service Manager: what it makes of good answers and bad ones, and what it lets nobody see."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kube.fence import NotSent
from localcluster.misbehaviour import Fault, bad_gateway, lost_answer, throttled, unknown_route
from localcluster.servicemanager import ServiceManager as StandIn
from models.reclaim import digest_of
from operand.reclaim_credentials import ReclaimCredentials
from operand.sap_answers import ServiceManagerAway, ServiceManagerRefused, retry_after
from operand.service_manager import Kind, connected

NOBODY = "00000000-0000-4000-8000-000000000000"


def always() -> bool:
    return True


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with StandIn() as sap:
        yield sap


@pytest.fixture
def sap(server: StandIn) -> StandIn:
    server.forget()
    return server


@pytest.fixture
def credentials(sap: StandIn) -> ReclaimCredentials:
    known = sap.admin_credentials()
    return ReclaimCredentials(
        sm_url=known["sm_url"],
        token_url=f"{known['url']}/oauth/token",
        issuer=known["url"],
        client_id=known["clientid"],
        client_secret=known["clientsecret"],
        tls=ssl.create_default_context(),
        any_address=True,
        version="uid/1",
    )


async def test_an_object_is_found_by_its_id_with_what_it_belongs_to(
    sap: StandIn, credentials: ReclaimCredentials
) -> None:
    instance = sap.put("service_instances", "team-a", "a")
    binding = sap.put("service_bindings", "team-a", "b", service_instance_id=instance)
    async with connected(credentials) as manager:
        found = await manager.find(Kind.BINDING, binding)
        assert found and found.instance_id == instance and not found.being_deleted
        assert found.belongs["cluster"] == {digest_of("stand-in-cluster-Ty6")}
        assert found.belongs["namespace"] == {"team-a"} and found.belongs["name"] == {"b"}
        assert await manager.find(Kind.INSTANCE, binding) is None
    assert sap.calls["POST", "token", ""] == 1
    assert set(sap.callers) == {"admin"}


async def test_a_search_reads_every_page(sap: StandIn, credentials: ReclaimCredentials) -> None:
    sap.page = 2
    there = {sap.put("service_instances", "team-a", "a", f"cluster-{number}") for number in range(5)}
    sap.put("service_instances", "team-b", "a")
    async with connected(credentials) as manager:
        assert {found.id for found in await manager.search(Kind.INSTANCE, "team-a", "a")} == there


async def test_a_deletion_is_done_at_once_or_told_by_its_operation(
    sap: StandIn, credentials: ReclaimCredentials
) -> None:
    now, later = (sap.put("service_instances", "team-a", name) for name in ("now", "later"))
    async with connected(credentials) as manager:
        assert await manager.delete(Kind.INSTANCE, now, always) is None
        assert await manager.delete(Kind.INSTANCE, now, always) is None  # twice is harmless
        sap.asynchronous = 60
        path = await manager.delete(Kind.INSTANCE, later, always)
        assert path and path.startswith(f"/v1/service_instances/{later}/operations/")
        assert not (await manager.operation(path)).done
        found = await manager.find(Kind.INSTANCE, later)
        assert found and found.being_deleted
        with pytest.raises(ServiceManagerRefused, match=r"concurrent operation in progress.*\(422\)"):
            await manager.delete(Kind.INSTANCE, later, always)


async def test_a_deletion_that_is_no_longer_allowed_when_the_connection_is_ready_is_not_sent(
    sap: StandIn, credentials: ReclaimCredentials
) -> None:
    identity = sap.put("service_instances", "team-a", "a")
    for warm in (False, True):
        async with connected(credentials) as manager:
            if warm:
                await manager.find(Kind.INSTANCE, identity)
            with pytest.raises(NotSent):
                await manager.delete(Kind.INSTANCE, identity, lambda: False)
    assert sap.deleted() == set() and not [call for call in sap.calls if call[0] == "DELETE"]


async def test_a_token_is_used_while_it_is_good_and_renewed_before_its_end(
    sap: StandIn, credentials: ReclaimCredentials
) -> None:
    async with connected(credentials) as manager:
        for _ in range(3):
            await manager.find(Kind.INSTANCE, NOBODY)
        assert sap.calls["POST", "token", ""] == 1
        sap.revoke_tokens()
        with pytest.raises(ServiceManagerAway, match=r"\(401\)"):
            await manager.find(Kind.INSTANCE, NOBODY)
        sap.token_seconds = 0.0
        await manager.ready()
        sap.token_seconds = 3600.0
        assert await manager.find(Kind.INSTANCE, NOBODY) is None
    assert sap.calls["POST", "token", ""] == 3


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (bad_gateway(), r"the broker is away \(502\)"),
        (unknown_route(), r"unknown_route \(404\)"),
        (Fault(status=404, body="<html>no such page</html>"), r"no description \(404\)"),
        (Fault(status=301, headers={"Location": "https://elsewhere.example.com/"}), r"no description \(301\)"),
        (Fault(status=200, body="<html>hello</html>"), "no JSON object"),
        (Fault(status=200, body="[" * 100_000), "no JSON object"),
        (Fault(status=200, body={"id": "../../platforms"}), "not an object"),
        (Fault(status=200, body="x" * (5 * 1024 * 1024)), "too large"),
        (Fault(status=403, body={"description": "no right"}), r"no right \(403\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_answer_that_is_none_says_nothing_about_the_object(
    sap: StandIn, credentials: ReclaimCredentials, fault: Fault, says: str
) -> None:
    identity = sap.put("service_instances", "team-a", "a")
    async with connected(credentials) as manager:
        sap.faults = [replace(fault, path="/v1/")]
        with pytest.raises(ServiceManagerAway, match=says):
            await manager.find(Kind.INSTANCE, identity)
    assert sap.calls["GET", "service_instances", identity] == 1  # no redirect was followed


async def test_what_does_not_answer_is_given_up(
    sap: StandIn, credentials: ReclaimCredentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operand.service_manager.SECONDS", 0.3)
    sap.faults = [Fault(path="/v1/", seconds=2)]
    async with connected(credentials) as manager:
        with pytest.raises(ServiceManagerAway, match="no answer"):
            await manager.find(Kind.INSTANCE, NOBODY)


async def test_a_deletion_whose_answer_is_lost_is_sent_once(sap: StandIn, credentials: ReclaimCredentials) -> None:
    identity = sap.put("service_instances", "team-a", "a")
    sap.faults = [lost_answer("DELETE")]
    async with connected(credentials) as manager:
        with pytest.raises(ServiceManagerAway, match="no answer"):
            await manager.delete(Kind.INSTANCE, identity, always)
    assert sap.calls["DELETE", "service_instances", identity] == 1


async def test_who_asks_to_be_left_alone_says_for_how_long(sap: StandIn, credentials: ReclaimCredentials) -> None:
    at = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    sap.faults = [throttled("7", path="/v1/"), throttled(at, path="/v1/")]
    async with connected(credentials) as manager:
        asked = []
        for _ in range(2):
            with pytest.raises(ServiceManagerAway, match="too many requests") as caught:
                await manager.find(Kind.INSTANCE, NOBODY)
            asked.append(caught.value.retry_after or 0)
    assert asked[0] == 7 and 280 < asked[1] <= 300


def test_a_retry_after_that_makes_no_sense_is_bounded_or_left_out() -> None:
    assert retry_after("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT") == 30
    assert [retry_after(text) for text in ("", "soon", "nan", "-5", "1e9", "inf")] == [
        None,
        None,
        None,
        0.0,
        86400.0,
        86400.0,
    ]
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example.com/v1/service_instances/{id}/operations/1",
        "/v1/platforms/1",
        "",
        "/v1/service_instances/another/operations/1",
        "//elsewhere.example.com/v1",
        "/v1/service_instances/{id}/../x",
        "http://[",
        "//[x]y/v1",
    ],
)
async def test_an_operation_elsewhere_is_not_asked(
    sap: StandIn, credentials: ReclaimCredentials, location: str
) -> None:
    identity = sap.put("service_instances", "team-a", "a")
    sap.faults = [Fault("DELETE", status=202, headers={"Location": location.format(id=identity)})]
    async with connected(credentials) as manager:
        assert await manager.delete(Kind.INSTANCE, identity, always) == ""


async def test_no_message_quotes_a_credential_or_more_than_a_bounded_description(
    sap: StandIn, credentials: ReclaimCredentials
) -> None:
    quoted: dict[str, Any] = {"description": f"{credentials.client_secret} \x1b[31m\n{'x' * 5000}", "more": "hidden"}
    sap.faults = [Fault(status=500, body=quoted, path="/v1/")]
    async with connected(credentials) as manager:
        with pytest.raises(ServiceManagerAway) as caught:
            await manager.find(Kind.INSTANCE, NOBODY)
    said = str(caught.value)
    assert len(said) < 450 and said.isprintable() and "hidden" not in said
    assert credentials.client_secret not in said and "***" in said
    assert credentials.client_secret not in repr(credentials)


@pytest.mark.parametrize(
    "expires_in", [10**400, -(10**400), True, -5, "300", None, [3]], ids=lambda each: str(each)[:5]
)
async def test_a_token_that_lives_for_a_time_that_makes_no_sense_is_used_all_the_same(
    sap: StandIn, credentials: ReclaimCredentials, expires_in: object
) -> None:
    sap.faults = [Fault("POST", status=200, body={"access_token": "t", "expires_in": expires_in})]
    async with connected(credentials) as manager:
        await manager.ready()


async def test_wrong_credentials_are_said_to_be_wrong(sap: StandIn, credentials: ReclaimCredentials) -> None:
    async with connected(replace(credentials, client_secret="not-this-one")) as manager:
        with pytest.raises(ServiceManagerAway, match=r"token: bad credentials \(401\)"):
            await manager.find(Kind.INSTANCE, NOBODY)
