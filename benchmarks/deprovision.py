"""`make bench-deprovision`: how long a deletion takes and what it costs, by number of objects, on both paths.

Arguments: numbers of pairs of an instance and a binding (default 50 500), spread over 10 namespaces; if one of them is
0, what the worker's memory does from nothing to 10,000 objects; a commit, to have the same from its worker and trigger.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from temporalio.client import Client as Temporal
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.measuring import peak_mib, requests_of, resident_mib
from benchmarks.sides import commit_in, environment_of, numbers_in, sides
from kube.client import Kube
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.binaries import ensure_all
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment
from localcluster.processes import Process, wait_until
from localcluster.servicemanager import ServiceManager
from models.names import OPERAND_FINALIZER

NAMESPACES = 10
BUDGET = 10


def main() -> None:
    sizes = numbers_in(sys.argv[1:]) or [50, 500, 0]
    ensure_all()
    with sides(commit_in(sys.argv[1:])) as both:
        for name, code in both.items():
            if len(both) > 1:
                print(f"{name}:", flush=True)
            measure(sizes, code, compared=len(both) > 1)


def measure(sizes: list[int], code: Path, *, compared: bool) -> None:
    """Hard and soft delete of each size, and the memory if it is asked for."""
    settings = {"BTP_HARD_DELETE_TIMEOUT": "20m"}
    with ServiceManager() as sap, environment_of(code, settings, compared=compared) as environment:
        print("hard delete, operand alive (a stand-in, one object of a kind at a time as the real one)", flush=True)
        operand = environment_ready(environment, sap)
        for pairs in filter(None, sizes):
            seed(environment, sap, pairs)
            hard(environment, sap, pairs)
            operand = environment_ready(environment, sap, operand)
    settings = {"BTP_HARD_DELETE_TIMEOUT": f"{BUDGET}s"}
    for pairs in filter(None, sizes):
        with ServiceManager() as sap, environment_of(code, settings, compared=compared) as environment:
            print(f"soft delete, operand dead and its webhooks registered, budget {BUDGET} s", flush=True)
            operand = environment_ready(environment, sap)
            seed(environment, sap, pairs)
            soft(environment, sap, pairs, operand)
    if 0 in sizes:
        print("memory of the worker, operand dead", flush=True)
        memory(lambda: environment_of(code, settings, compared=compared))


def memory(started: Callable[[], Environment]) -> None:
    """The worker's peak memory over a whole deletion with a dead operand: no object, and 5,000 of each kind."""
    nothing, many = (peak(started(), pairs) for pairs in (0, 5000))
    print(f"  the worker's peak memory grows by {many - nothing:.0f} MiB from 0 to 10,000 objects", flush=True)


def peak(environment: Environment, pairs: int) -> float:
    with environment:
        person, worker = Person(environment.cluster), environment.workers[0]
        asyncio.run(seed_directly(environment, pairs))
        person.put_secret(CREDENTIALS)
        person.create_operator("bench")
        wait_until(lambda: (s := person.status("bench")) is not None and s.state == "Ready", "the CR to be Ready")
        began = time.monotonic()
        person.delete_operator("bench")
        wait_until(lambda: person.status("bench") is None, "the CR to be gone", seconds=600)
        found = peak_mib(worker)
        print(
            f"  {2 * pairs} objects: CR gone after {time.monotonic() - began:.1f} s, peak {found:.0f} MiB", flush=True
        )
        return found


async def seed_directly(environment: Environment, pairs: int) -> None:
    """Objects as the operand leaves them, made before its webhooks are there."""
    os.environ["KUBECONFIG"] = str(environment.cluster.kubeconfig())
    kube = await Kube.from_environment()
    for file in (CHECKOUT / "chart" / "sap-btp-operator" / "crds").iterdir():
        await kube.apply(CUSTOM_RESOURCE_DEFINITIONS, yaml.safe_load(file.read_text()))
    await asyncio.sleep(3)
    room = asyncio.Semaphore(32)

    async def make(resource: Resource, number: int, spec: dict[str, str]) -> None:
        meta = {"name": f"x{number}", "namespace": f"bench-{number % NAMESPACES}", "finalizers": [OPERAND_FINALIZER]}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, "spec": spec}
        async with room:
            await kube.create(resource, body)

    for number in range(NAMESPACES):
        Person(environment.cluster).ensure_namespace(f"bench-{number}")
    instance = {"serviceOfferingName": "offering", "servicePlanName": "plan"}
    await asyncio.gather(*(make(SERVICE_INSTANCES, number, instance) for number in range(pairs)))
    binding = {"serviceInstanceName": "x0"}
    await asyncio.gather(*(make(SERVICE_BINDINGS, number, binding) for number in range(pairs)))
    await kube.close()


def environment_ready(environment: Environment, sap: ServiceManager, operand: Process | None = None) -> Process:
    """A Ready CR and a living operand."""
    person = Person(environment.cluster)
    person.put_secret(sap.credentials())
    person.create_operator("bench")
    operand = operand or environment.start_operand()
    wait_until(lambda: (s := person.status("bench")) is not None and s.state == "Ready", "the CR to be Ready")
    person.ensure_namespace("bench-0")

    def admitted() -> bool:
        try:
            person.create_instance("bench-0", "probe")
        except OSError:
            return False
        return True

    wait_until(admitted, "the webhooks to admit")
    wait_until(
        lambda: any((obj.get("status") or {}).get("ready") for obj in person.service_objects()),
        "the service objects to be ready",
    )
    person.delete("/apis/services.cloud.sap.com/v1/namespaces/bench-0/serviceinstances/probe")
    wait_until(lambda: not person.service_objects() and not sap.instances, "SAP to be empty")
    return operand


def seed(environment: Environment, sap: ServiceManager, pairs: int) -> None:
    """Pairs of an instance and a binding that SAP knows."""
    person = Person(environment.cluster)

    def pair(number: int) -> None:
        namespace = f"bench-{number % NAMESPACES}"
        person.create_instance(namespace, f"i{number}")
        person.create_binding(namespace, f"b{number}", f"i{number}", secretName=f"s{number}")

    for number in range(NAMESPACES):
        person.ensure_namespace(f"bench-{number}")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(pair, range(pairs)))
    wait_until(lambda: len(sap.bindings) == pairs, "all bindings to be in SAP", seconds=300)
    wait_until(
        lambda: all((obj.get("status") or {}).get("ready") for obj in person.service_objects()),
        "the service objects to be ready",
        seconds=120,
    )


def hard(environment: Environment, sap: ServiceManager, pairs: int) -> None:
    person, worker = Person(environment.cluster), environment.workers[0]
    before, memory = requests_of(worker), resident_mib(worker)
    began = time.monotonic()
    person.delete_operator("bench")
    wait_until(lambda: not sap.instances, "SAP to be empty", seconds=600)
    objects = time.monotonic() - began
    wait_until(lambda: person.status("bench") is None, "the CR to be gone", seconds=600)
    gone = time.monotonic() - began
    sent = requests_of(worker) - before
    looks = f"besides {pairs} looks at Secrets" if pairs else ""
    print(
        f"  {pairs} + {pairs} in {NAMESPACES} namespaces: SAP empty after {objects:.1f} s, "
        f"CR gone {gone - objects:.1f} s later; {sap.refusals_for_bindings} refusals for bindings; "
        f"{sent.total - pairs} requests {looks}; "
        f"memory {memory:.0f} -> {resident_mib(worker):.0f} MiB\n    {sent}",
        flush=True,
    )


def soft(environment: Environment, sap: ServiceManager, pairs: int, operand: Process) -> None:
    person, worker = Person(environment.cluster), environment.workers[0]
    operand.kill()
    memory = resident_mib(worker)
    person.delete_operator("bench")
    began = time.monotonic()
    time.sleep(3)  # the requests for deletion themselves are sent at once
    settled, settled_at = requests_of(worker), time.monotonic()
    time.sleep(BUDGET - 5)
    waiting = requests_of(worker) - settled
    rate = waiting.total / (time.monotonic() - settled_at)
    wait_until(lambda: (s := person.status("bench")) is None or s.reason == "SoftDeleting", "soft delete to begin")
    before = requests_of(worker)
    wait_until(lambda: person.status("bench") is None, "the CR to be gone", seconds=600)
    gone = time.monotonic() - began
    sent = requests_of(worker) - before
    took = asyncio.run(activity_seconds(environment, "soft_delete_service_objects"))
    report = person.get("/api/v1/namespaces/kyma-system/configmaps/sap-btp-abandoned") or {}
    print(
        f"  {pairs} + {pairs}: while waiting {rate:.1f} requests/s; then soft delete in {took:.2f} s: "
        f"{2 * pairs / took:.0f} instances and bindings/s ({3 * pairs / took:.0f} with their Secrets)\n"
        f"    CR gone after {gone:.1f} s; {sent.total / (3 * pairs):.2f} requests per instance, binding and Secret; "
        f"{report['data']['total']} reported, {len(sap.instances) + len(sap.bindings)} left in SAP; "
        f"memory {memory:.0f} -> {resident_mib(worker):.0f} MiB\n    {sent}",
        flush=True,
    )


async def activity_seconds(environment: Environment, name: str) -> float:
    """How long the latest activity of that name took, by Temporal's history."""
    client = await Temporal.connect(environment.temporal.address, data_converter=pydantic_data_converter)
    async for execution in client.list_workflows("WorkflowType = 'DeprovisionWorkflow'"):
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        started: dict[int, float] = {}
        scheduled: dict[int, str] = {}
        for event in history.events:
            at = event.event_time.seconds + event.event_time.nanos / 1e9
            if event.HasField("activity_task_scheduled_event_attributes"):
                scheduled[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
            elif event.HasField("activity_task_started_event_attributes"):
                started[event.event_id] = at
            elif event.HasField("activity_task_completed_event_attributes"):
                done = event.activity_task_completed_event_attributes
                if scheduled[done.scheduled_event_id] == name:
                    return at - started[done.started_event_id]
    raise LookupError(name)


if __name__ == "__main__":
    main()
