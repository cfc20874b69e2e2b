"""`make bench-fleet`: several clusters on one Temporal server, and what an idle cluster costs it.

Each cluster is a real control plane with a worker and a trigger of its own; they share Temporal's own server on
PostgreSQL, one namespace, and differ in their task queue. docs/scale.md works out a fleet from what this prints.
Arguments: how many clusters (default 5), how many resyncs of each are measured (default 20). `simulated` and a number:
benchmarks/simulated_fleet.py.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecution
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks import simulated_fleet
from benchmarks.measuring import distribution, packed, requests_of, resident_mib, size, value_of
from dispatch.names import schedule_id
from localcluster.binaries import CONTROL_PLANE, TEMPORAL
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment, Manager
from localcluster.postgresql import PostgreSQL
from localcluster.processes import wait_until
from localcluster.temporal import TemporalOnPostgreSQL

REST = 60.0
"""Idle seconds for which processor time is measured."""


def main() -> None:
    if sys.argv[1:2] == ["simulated"]:
        simulated_fleet.main(int(sys.argv[2]) if len(sys.argv) > 2 else 500)
        return
    clusters = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    resyncs = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    CONTROL_PLANE.ensure()
    TEMPORAL.ensure()
    with ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        temporal = TemporalOnPostgreSQL(folder, database)
        stack.callback(temporal.stop)
        temporal.set_up()
        fleet = []
        for number in range(1, clusters + 1):
            environment = Environment({"BTP_TASK_QUEUE": f"cluster-{number}"}, temporal=temporal)
            fleet.append(stack.enter_context(environment))
            print(f"cluster-{number} is up", flush=True)
        all_at_once(fleet)
        one_is_removed(fleet)
        at_rest(fleet, temporal, database)
        resynced(fleet, temporal, database, resyncs)


def all_at_once(fleet: list[Environment]) -> None:
    """Every cluster gets its Secret and its CR in the same moment."""
    people = [Person(environment.cluster) for environment in fleet]
    for person in people:
        person.put_secret(CREDENTIALS)
    began, took = time.monotonic(), dict[int, float]()
    for person in people:
        person.create_operator("btpoperator")
    while len(took) < len(people):
        for number, person in enumerate(people):
            status = person.status("btpoperator")
            if number not in took and status and status.state == "Ready":
                took[number] = time.monotonic() - began
    print(f"\n{len(fleet)} clusters at once, CR created -> Ready: {distribution(list(took.values()))}")


def one_is_removed(fleet: list[Environment]) -> None:
    """A deletion in one cluster concerns no other."""
    person, others = Person(fleet[0].cluster), fleet[1:]
    before = [requests_of(environment.workers[0]) for environment in others]
    person.delete_operator("btpoperator")
    wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone")
    sent = sum((requests_of(e.workers[0]) - b).total for e, b in zip(others, before, strict=True))
    states = Counter(
        str(status and status.state) for e in others for status in [Person(e.cluster).status("btpoperator")]
    )
    print(f"cluster-1 deletes its CR: it goes; the others are {dict(states)} and their workers sent {sent} requests")
    person.create_operator("btpoperator")
    wait_until(lambda: (status := person.status("btpoperator")) and status.state == "Ready", "the CR to be Ready")


def at_rest(fleet: list[Environment], temporal: TemporalOnPostgreSQL, database: PostgreSQL) -> None:
    """Nothing happens: what do processes hold and use?"""
    time.sleep(5)  # the passes that follow from becoming ready
    workers = [environment.workers[0] for environment in fleet]
    triggers = [environment.triggers[0] for environment in fleet]
    before = {manager: cpu_seconds(manager) for manager in workers + triggers}
    runs = asyncio.run(count(temporal))
    assert temporal.process is not None
    server = _cpu(temporal.process.pid)
    time.sleep(REST)
    print(f"\nidle, for {REST:.0f} s: {asyncio.run(count(temporal)) - runs} workflows")
    for name, managers in (("worker", workers), ("trigger", triggers)):
        used = sum(cpu_seconds(manager) - before[manager] for manager in managers) / len(managers) / REST
        memory = sum(map(resident_mib, managers)) / len(managers)
        print(f"  a {name}: {memory:.0f} MiB resident, {used * 1000:.1f} ms of a processor per second")
    used = (_cpu(temporal.process.pid) - server) / REST
    print(f"  Temporal, for all {len(fleet)}: {used * 1000:.0f} ms of a processor per second")
    polls = sum(value_of(worker, "temporal_num_pollers") for worker in workers) / len(workers)
    print(f"  open polls of a worker: {polls:.0f}; databases: {size(database) / 2**20:.1f} MiB")


def resynced(fleet: list[Environment], temporal: TemporalOnPostgreSQL, database: PostgreSQL, times: int) -> None:
    """The one thing that an idle cluster does: the resync of its Schedule, and the look at its CR that follows."""
    workers = [environment.workers[0] for environment in fleet]
    requests = [requests_of(worker) for worker in workers]
    used = sum(map(cpu_seconds, workers))
    packed(database)
    before, since = size(database), time.time()
    for _ in range(times):
        asyncio.run(trigger_all(fleet, temporal))
        time.sleep(1)
    asyncio.run(settle(temporal))
    time.sleep(3)
    total = times * len(fleet)
    sent = sum((requests_of(w) - b).total for w, b in zip(workers, requests, strict=True))
    events, history, runs = asyncio.run(recorded(temporal, since))
    processor = sum(map(cpu_seconds, workers)) - used
    print(f"\na resync of one cluster with one Ready CR (mean of {total}):")
    print(f"  {runs / total:.1f} workflows, {sum(events.values()) / total:.1f} events")
    for kind, number in events.most_common():
        print(f"    {number / total:5.2f} {kind}")
    loose = (size(database) - before) / total
    packed(database)
    stored = (size(database) - before) / total
    print(f"  {history / total:.0f} bytes of history; databases grow by {loose:.0f} bytes, {stored:.0f} once vacuumed")
    print(f"  {sent / total:.1f} requests to the API server, {processor / total:.3f} s of a worker's processor")


async def trigger_all(fleet: list[Environment], temporal: TemporalOnPostgreSQL) -> None:
    client = await connect(temporal)
    for number in range(1, len(fleet) + 1):
        await client.get_schedule_handle(schedule_id(f"cluster-{number}")).trigger()


async def settle(temporal: TemporalOnPostgreSQL) -> None:
    client = await connect(temporal)
    while (await client.count_workflows("ExecutionStatus = 'Running' AND TemporalNamespaceDivision IS NULL")).count:
        await asyncio.sleep(0.2)


async def count(temporal: TemporalOnPostgreSQL) -> int:
    return (await (await connect(temporal)).count_workflows()).count


async def recorded(temporal: TemporalOnPostgreSQL, since: float) -> tuple[Counter[str], int, int]:
    """Events by type, bytes of their histories, and how many runs there were."""
    client, events, size, runs = await connect(temporal), Counter[str](), 0, 0
    async for run in client.list_workflows():
        if run.start_time.timestamp() < since:
            continue
        runs += 1
        description = await client.get_workflow_handle(run.id, run_id=run.run_id).describe()
        size += description.raw_description.workflow_execution_info.history_size_bytes
        events += await kinds(client, run)
    return events, size, runs


async def kinds(client: Temporal, run: WorkflowExecution) -> Counter[str]:
    history = await client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
    return Counter(
        f"{run.workflow_type} {EventType.Name(event.event_type).removeprefix('EVENT_TYPE_').lower()}"
        for event in history.events
    )


async def connect(temporal: TemporalOnPostgreSQL) -> Temporal:
    return await Temporal.connect(temporal.address, data_converter=pydantic_data_converter)


def cpu_seconds(manager: Manager) -> float:
    """Processor time that a process has used so far."""
    assert manager.process is not None
    return _cpu(manager.process.pid)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
