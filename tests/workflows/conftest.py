"""What the tests of workflows share."""

import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import RetryPolicy
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from dispatch.search_attributes import SEARCH_ATTRIBUTES
from workflows import calls


@pytest.fixture
async def skipping() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose clock jumps while everybody waits. Each test has its own, for the clock is shared."""
    server = Path(sys.executable).parent / "temporal-test-server"
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(server), data_converter=pydantic_data_converter
    )
    async with environment:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        attributes = {key.name: keyword for key in SEARCH_ATTRIBUTES}
        await environment.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(search_attributes=attributes)
        )
        yield environment


@pytest.fixture(autouse=True)
def local_retries_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries of local activities pass in real time, whatever the server's clock does."""
    twice = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=2)
    monkeypatch.setitem(calls.LOCAL, "retry_policy", twice)
