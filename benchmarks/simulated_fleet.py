"""`make bench-fleet ARGS="simulated 500"`: hundreds of clusters on one Temporal server, their clusters in memory.

Workflows, trigger's starts, Schedules, workers' options and the server, with PostgreSQL, are the real ones; what a
cluster would do is benchmarks/simulated.py. All of it shares the machine, so times are those of a busy one: what counts
is what each cluster costs Temporal, and where it saturates. docs/scale.md works out a fleet from what this prints.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from benchmarks.measuring import packed, size
from benchmarks.simulated import SimulatedCluster
from dispatch.names import schedule_id
from localcluster.binaries import TEMPORAL
from localcluster.postgresql import PostgreSQL
from localcluster.temporal import TemporalOnPostgreSQL
from runtime.identity import Identity
from runtime.search_attributes import have_search_attributes
from runtime.settings import WorkerSettings
from worker.schedule import ensure_resync

OPERATIONS: Final = (
    "StartWorkflowExecution",
    "SignalWithStartWorkflowExecution",
    "PollWorkflowTaskQueue",
    "PollActivityTaskQueue",
    "RespondWorkflowTaskCompleted",
    "RespondActivityTaskCompleted",
    "RecordActivityTaskHeartbeat",
)
POLLS_OF_A_NAMESPACE: Final = "frontend.namespaceCount"
"""Temporal's limit of open polls of a namespace, on each of its frontends: 1200 where nobody sets it."""
REQUESTS_OF_A_NAMESPACE: Final = "frontend.namespaceRPS"
"""And of requests per second: 2400."""
RESYNCS: Final = 3
DELETING: Final = 0.05
IDLE: Final = 60.0
THROTTLED: Final = 100
AT_ONCE: Final = 100
ON_A_CONNECTION: Final = 10
"""Workers that share a connection to Temporal; a real one has its own."""
LONGEST: Final = 900.0
COUNTED_AFTER: Final = 2.0
"""Seconds until the server's page of metrics has what it counted."""


def main(clusters: int) -> None:
    """Run all of it."""
    TEMPORAL.ensure()
    with PostgreSQL() as database, tempfile.TemporaryDirectory() as folder:
        temporal = TemporalOnPostgreSQL(Path(folder), database)
        temporal.dynamic = {POLLS_OF_A_NAMESPACE: 40 * clusters, REQUESTS_OF_A_NAMESPACE: 1_000_000}
        try:
            temporal.set_up()
            asyncio.run(_Fleet(temporal, database, clusters).run())
        finally:
            temporal.stop()


class _Fleet:
    def __init__(self, temporal: TemporalOnPostgreSQL, database: PostgreSQL, number: int) -> None:
        self._temporal, self._database, self._number = temporal, database, number
        self._clusters: list[SimulatedCluster] = []

    async def run(self) -> None:
        clients = [await self._connect() for _ in range(0, self._number, ON_A_CONNECTION)]
        await have_search_attributes(clients[0])
        self._clusters = [SimulatedCluster(clients[number // ON_A_CONNECTION]) for number in range(self._number)]
        async with AsyncExitStack() as stack:
            executor = stack.enter_context(ThreadPoolExecutor(4))
            with self._counted("workers start"):
                for each in self._clusters:
                    await stack.enter_async_context(each.worker(executor))
            print(f"{self._number} workers serve", flush=True)
            await self._all_at_once()
            await self._idle()
            await self._resyncs(clients[0])
            await self._some_delete()
            await self._restarted()
            await self._throttled()

    async def _connect(self) -> Client:
        return await Client.connect(self._temporal.address, data_converter=pydantic_data_converter)

    async def _all_at_once(self) -> None:
        with self._counted("every cluster gets its CR at once"):
            await self._happens(self._clusters)

    async def _idle(self) -> None:
        with self._counted(f"idle, for {IDLE:.0f} s"):
            await asyncio.sleep(IDLE)

    async def _resyncs(self, client: Client) -> None:
        """Every Schedule fires at once, which offsets keep from happening: how many resyncs a second are too many?"""
        settings = WorkerSettings()
        with self._counted("every worker makes its Schedule, which starts a resync"):
            await self._resynced(
                lambda each: ensure_resync(settings, Identity(each.cluster, each.task_queue), client), self._clusters
            )
        packed(self._database)
        before, began = size(self._database), time.monotonic()
        with self._counted(f"{RESYNCS} resyncs of every cluster, as fast as they go"):
            for _ in range(RESYNCS):
                await self._resynced(
                    lambda each: client.get_schedule_handle(schedule_id(each.task_queue)).trigger(), self._clusters
                )
        rate = RESYNCS * self._number / (time.monotonic() - began)
        packed(self._database)
        stored = (size(self._database) - before) / RESYNCS / self._number
        print(f"  {rate:.1f} resyncs a second; {stored / 1024:.1f} KiB stored for each", flush=True)

    async def _some_delete(self) -> None:
        some = self._clusters[: max(round(self._number * DELETING), 1)]
        for each in some:
            each.deleting = True
        with self._counted(f"{len(some)} clusters delete their CR at once"):
            await self._happens(some)

    async def _restarted(self) -> None:
        left = [each for each in self._clusters if not each.gone]
        with self._counted("Temporal is killed and started again as every CR changes"):
            changes = asyncio.create_task(self._happens(left))
            await asyncio.sleep(1)
            assert self._temporal.process is not None
            self._temporal.process.kill()
            await asyncio.to_thread(self._temporal.start)
            await changes

    async def _throttled(self) -> None:
        left = [each for each in self._clusters if not each.gone]
        self._temporal.dynamic[REQUESTS_OF_A_NAMESPACE] = THROTTLED
        self._temporal.stop()
        await asyncio.to_thread(self._temporal.start)
        with self._counted(f"every CR changes while Temporal takes {THROTTLED} requests a second"):
            await self._happens(left)
        print(f"  {self._temporal.requests_refused()} requests refused, and sent again by the SDK")

    async def _happens(self, some: Sequence[SimulatedCluster]) -> None:
        """An event in each of them; until all have settled."""
        await self._for_each(lambda each: each.happens(), some)
        await self._settled(some)

    async def _resynced(
        self, start: Callable[[SimulatedCluster], Awaitable[None]], some: Sequence[SimulatedCluster]
    ) -> None:
        for each in some:
            each.settled_at = 0.0
        began = time.monotonic()
        await self._for_each(start, some)
        await self._settled(some, began)

    async def _for_each(
        self, do: Callable[[SimulatedCluster], Awaitable[None]], some: Sequence[SimulatedCluster]
    ) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(each: SimulatedCluster) -> None:
            while True:
                async with room:
                    try:
                        return await do(each)
                    except (RPCError, RuntimeError):
                        await asyncio.sleep(0.5)  # as the trigger, which keeps a change until it is delivered

        await asyncio.gather(*(one(each) for each in some))

    async def _settled(self, some: Sequence[SimulatedCluster], began: float = 0.0) -> None:
        async with asyncio.timeout(LONGEST):
            while not all(each.settled_at for each in some):
                await asyncio.sleep(0.1)
        looked = [each.looked_at - each.event_at for each in some]
        settled = [each.settled_at - (began or each.event_at) for each in some]
        print(f"  from the event to the first look: {_tail(looked)}; until settled: {_tail(settled)}", flush=True)

    @contextmanager
    def _counted(self, what: str) -> Iterator[None]:
        """Say what Temporal's frontend was asked meanwhile, for each cluster."""
        print(f"\n{what}:", flush=True)
        before, began = self._requests(), time.monotonic()
        yield
        took = time.monotonic() - began
        time.sleep(COUNTED_AFTER)
        after = self._requests()
        restarted = any(after[each] < before[each] for each in OPERATIONS)
        sent = {each: after[each] - (0 if restarted else before[each]) for each in OPERATIONS}
        shown = ", ".join(f"{each} {number / self._number:.1f}" for each, number in sent.items() if number)
        since = " since the restart" if restarted else ""
        print(f"  {took:.1f} s; requests for each cluster{since}: {shown or 'none'}", flush=True)

    def _requests(self) -> dict[str, int]:
        return {each: self._temporal.requests(each) for each in OPERATIONS}


def _tail(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s"
