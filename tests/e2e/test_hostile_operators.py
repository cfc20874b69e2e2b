"""Five hundred BtpOperators as large as somebody may write them: under the rights and the memory limit of the chart."""

import asyncio
import contextlib
import urllib.request

import pytest

from localcluster.client import Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from tests.cluster import connected
from tests.e2e.memory import within_the_limits_of_the_chart
from tests.foreign import create_large_operators

pytestmark = pytest.mark.load

MANY = 500
NAMESPACE = "team-z"


async def fill(environment: Environment) -> None:
    kube = await connected(environment.cluster.kubeconfig())
    try:
        await create_large_operators(kube, NAMESPACE, MANY)
    finally:
        await kube.close()


def known(environment: Environment) -> int:
    """Of how many CRs the trigger shows a state; of none before its page is there."""
    (trigger,) = environment.triggers
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"http://127.0.0.1:{trigger.metrics}/metrics", timeout=10) as answer,
    ):
        return sum(line.startswith(b"btp_operator_state{") for line in answer)
    return 0


@pytest.mark.timeout(590)
def test_what_the_trigger_keeps_of_a_cr_does_not_grow_with_what_stands_in_the_cr() -> None:
    with Environment() as environment:
        (worker,), (trigger,) = environment.workers, environment.triggers
        for manager in (worker, trigger):
            manager.stop()
        Person(environment.cluster).ensure_namespace(NAMESPACE)
        asyncio.run(fill(environment))
        trigger.start()
        wait_until(lambda: known(environment) == MANY, "the trigger to know all of them", trigger.process, 240)
        within_the_limits_of_the_chart([trigger], f"{MANY} BtpOperators of 0.6 MB")
