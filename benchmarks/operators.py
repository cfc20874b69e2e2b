"""`make bench-operators`: what many BtpOperators cost, of which one is responsible and each other waits.

Real control plane, Temporal's dev server, one worker and one trigger with the chart's rights. Arguments: how many CRs,
one number for each run (default 200 1000). docs/limits.md says what this printed.
"""

import asyncio
import sys
import time
import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client as Temporal

from benchmarks.measuring import peak_mib
from dispatch.names import default_task_queue, schedule_id
from kube.resources import BTP_OPERATORS, NAMESPACES
from localcluster.binaries import CONTROL_PLANE
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from models.conditions import ready_condition
from models.names import KYMA_NAMESPACE

PATIENCE = 900.0


def main() -> None:
    CONTROL_PLANE.ensure()
    for number in [int(each) for each in sys.argv[1:]] or [200, 1000]:
        with Environment() as environment:
            asyncio.run(Run(environment, number).measure())


class Run:
    """One cluster and so many CRs in it."""

    def __init__(self, environment: Environment, number: int) -> None:
        self._environment = environment
        self._number = number
        self._person = Person(environment.cluster)

    async def measure(self) -> None:
        client = await Temporal.connect(self._environment.temporal.address)
        cluster = (self._person.get(NAMESPACES.path(name="kube-system")) or {})["metadata"]["uid"]
        resync = client.get_schedule_handle(schedule_id(default_task_queue(cluster)))
        self._person.put_secret(CREDENTIALS)
        await self._step(client, "all are made", self._make, lambda: self._settled(self._number))
        await self._step(client, "a resync", lambda: None, lambda: True, resync.trigger)
        await self._step(client, "the trigger starts again", self._restart, lambda: True)
        await self._step(client, "another one is made", lambda: self._create(self._number), self._all_settled)
        await self._step(client, "the responsible one is deleted", self._delete_first, self._taken_over)
        worker, trigger = self._environment.workers[0], self._environment.triggers[0]
        print(f"{self._number} CRs: worker {peak_mib(worker):.0f} MiB, trigger {peak_mib(trigger):.0f} MiB at most\n")

    async def _step(
        self,
        client: Temporal,
        what: str,
        act: Callable[[], None],
        is_over: Callable[[], object],
        ask: Callable[[], object] | None = None,
    ) -> None:
        """Do something, wait until it is over and nothing runs, and print what it took."""
        began, workflows, before = time.monotonic(), await _workflows(client), self._counts()
        act()
        if ask:
            await ask()  # type: ignore[misc]
        await asyncio.to_thread(wait_until, is_over, what, None, PATIENCE, 1.0)
        await asyncio.sleep(2)
        while await _workflows(client, "ExecutionStatus = 'Running'"):
            await asyncio.sleep(0.5)
        seconds, started = time.monotonic() - began - 2, await _workflows(client) - workflows
        asked = {key: _more(count, before.get(key, 0.0)) for key, count in self._counts().items()}
        lists = sum(count for (_, *rest), count in asked.items() if rest == ["list", "BtpOperator"])
        total = sum(asked.values()) - lists
        print(
            f"{self._number} CRs, {what}: {seconds:.0f} s, {started} workflows ({started / self._number:.2f} per CR), "
            f"{lists:.0f} pages of CRs and {total:.0f} other requests ({total / self._number:.2f} per CR)",
            flush=True,
        )

    def _counts(self) -> dict[tuple[str, str, str], float]:
        """Requests of worker and trigger to the API server, without watches and probes."""
        counts: dict[tuple[str, str, str], float] = {}
        for manager in self._environment.workers + self._environment.triggers:
            with urllib.request.urlopen(f"http://127.0.0.1:{manager.metrics}/metrics", timeout=20) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
            for sample in (each for family in families for each in family.samples):
                if sample.name == "btp_kube_requests_total" and sample.labels["verb"] not in ("watch", "probe"):
                    key = (manager.name, sample.labels["verb"], sample.labels["kind"])
                    counts[key] = counts.get(key, 0.0) + sample.value
        return counts

    def _make(self) -> None:
        for number in range(self._number):
            self._create(number)

    def _create(self, number: int) -> None:
        self._person.create_operator(f"cr-{number:04}")

    def _delete_first(self) -> None:
        self._person.delete_operator("cr-0000")

    def _restart(self) -> None:
        (trigger,) = self._environment.triggers
        trigger.stop()
        trigger.start()
        trigger.wait_ready()

    def _all_settled(self) -> bool:
        return self._settled(self._number + 1)

    def _taken_over(self) -> bool:
        found = self._person.get(BTP_OPERATORS.path(KYMA_NAMESPACE, "cr-0001")) or {}
        return ready_condition(found.get("status")).get("reason") == "ReconcileSucceeded"

    def _settled(self, number: int) -> bool:
        """One is Ready, and each other says that it waits."""
        items = (self._person.get(BTP_OPERATORS.path()) or {})["items"]
        reasons = [ready_condition(obj.get("status")).get("reason") for obj in items]
        return reasons.count("OlderCRExists") == number - 1 and "ReconcileSucceeded" in reasons


def _more(count: float, before: float) -> float:
    """Since then: a process that has begun anew counts from nothing."""
    return count - before if count >= before else count


async def _workflows(client: Temporal, query: str = "") -> int:
    return (await client.count_workflows(query)).count


if __name__ == "__main__":
    main()
