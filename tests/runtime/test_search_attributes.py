"""Search attributes are a convenience: without the right to them, or room for them, everything else works."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode

from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.temporal import TemporalServer
from runtime.search_attributes import have_search_attributes

COMMAND = (
    "temporal operator search-attribute create --namespace default --name BtpOperatorState --type Keyword "
    "--name BtpOperatorNamespace --type Keyword --name BtpOperatorName --type Keyword"
)


@pytest.fixture(scope="module")
def crowded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    """A server without ours, and without room for them."""
    server = TemporalServer(tmp_path_factory.mktemp("crowded"), ui=False)
    server.start()
    try:
        asyncio.run(fill(server.address))
        yield server
    finally:
        server.stop()


@pytest.fixture
async def client(crowded_server: TemporalServer) -> Client:
    return await Client.connect(crowded_server.address, data_converter=pydantic_data_converter)


async def fill(address: str) -> None:
    """Register others' attributes until the server takes no more."""
    client = await Client.connect(address)
    kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    for number in range(100):
        request = AddSearchAttributesRequest(namespace="default", search_attributes={f"Others{number}": kind})
        try:
            await client.operator_service.add_search_attributes(request)
        except RPCError:
            return
    raise AssertionError("the server has room for whatever comes")


def refuse(monkeypatch: pytest.MonkeyPatch, client: Client, *calls: str) -> None:
    """What the server's authorizer answers to a user of the namespace; the dev server has none."""

    async def refused(*_: Any, **__: Any) -> None:
        raise RPCError("Request unauthorized.", RPCStatusCode.PERMISSION_DENIED, b"")

    for call in calls:
        monkeypatch.setattr(client.operator_service, call, refused)


async def test_without_room_there_is_one_warning_with_the_command_to_type(client: Client) -> None:
    with capture_logs() as lines:
        assert not await have_search_attributes(client)
    (warning,) = lines
    assert warning["command"] == COMMAND and warning["log_level"] == "warning" and warning["error"]


@pytest.mark.long
def test_without_them_a_cr_becomes_ready_is_looked_at_by_a_resync_and_goes(crowded_server: TemporalServer) -> None:
    with Environment(temporal=crowded_server, settings={"BTP_RESYNC_INTERVAL": "2s"}) as environment:
        person = Person(environment.cluster)
        person.put_secret(CREDENTIALS)
        person.create_operator("btpoperator")
        wait_until(lambda: (s := person.status("btpoperator")) is not None and s.state == "Ready", "Ready")
        environment.triggers[0].stop()
        person.delete_operator("btpoperator")  # only a resync can tell of it
        wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone")
        for manager in environment.workers:
            assert manager.process is not None and manager.process.log.read_text().count(COMMAND) == 1


@pytest.mark.parametrize("calls", [["list_search_attributes", "add_search_attributes"], ["list_search_attributes"]])
async def test_without_the_right_to_list_them_it_finds_out_by_using_them(
    client: Client, temporal: Client, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    refuse(monkeypatch, client, *calls)
    assert not await have_search_attributes(client)
    refuse(monkeypatch, temporal, *calls)
    assert await have_search_attributes(temporal)


async def test_a_server_that_is_away_is_no_refusal(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b"")

    monkeypatch.setattr(client.operator_service, "list_search_attributes", away)
    with pytest.raises(RPCError):
        await have_search_attributes(client)
