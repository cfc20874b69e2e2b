"""What leaves an activity when something goes wrong in it."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from activities.edge import DEFECTS, checked
from kube.errors import Unavailable
from models.mandate import Mandate
from models.names import DEFECT
from models.operators import OperatorRef
from tests.acting import provision

MANDATE = Mandate(cluster="c", ref=OperatorRef(namespace="a", name="b", uid="u"))


class Cluster:
    """The connection to the mandate's cluster, as far as the edge asks it anything."""

    async def reach(self) -> None:
        pass

    async def cluster_uid(self) -> str:
        return "c"


class Activities:
    def __init__(self, error: Exception) -> None:
        self._kube = Cluster()
        self._error = error

    @checked
    async def fail(self, mandate: Mandate) -> None:
        raise self._error


async def failure_of(error: Exception) -> tuple[ApplicationError, str]:
    """What is raised, and everything that Temporal would store of it."""
    activities: Any = Activities(error)
    with pytest.raises(ApplicationError) as raised:
        await provision(activities.fail, MANDATE)
    stored = Failure()
    await DataConverter.default.encode_failure(raised.value, stored)
    return raised.value, str(stored)


async def test_a_defect_travels_without_its_text_which_may_quote_a_secret() -> None:
    failure, stored = await failure_of(KeyError("canary-of-a-secret"))
    assert failure.type == DEFECT and not failure.non_retryable
    assert "KeyError at unit/test_edge.py:" in failure.message
    assert "canary-of-a-secret" not in stored


async def test_a_defect_is_one_line_in_the_log_and_counted() -> None:
    def counted() -> float:
        samples = (sample for metric in DEFECTS.collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    before = counted()
    with capture_logs() as lines:
        await failure_of(KeyError("canary-of-a-secret"))
    assert counted() == before + 1
    (line,) = lines
    assert (line["event"], line["error"], line["log_level"]) == ("a defect of this program", "KeyError", "error")
    assert "canary-of-a-secret" not in str(line)


async def test_an_absent_api_server_is_something_that_may_pass() -> None:
    failure, _ = await failure_of(Unavailable("list secrets: no answer", status=503, retry_after=7))
    assert failure.type == "Unavailable" and failure.next_retry_delay is not None
    assert failure.next_retry_delay.total_seconds() == 7
