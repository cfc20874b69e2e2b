"""`make bench-provision`: from a created BtpOperator to Ready, and where the time goes.

Arguments: how many rounds (default 15); a commit, to have the same from its worker and trigger, twice in turn.
"""

import asyncio
import statistics
import sys
import time

from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecution
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.measuring import Requests, distribution, requests_of
from benchmarks.sides import commit_in, environment_of, numbers_in, sides
from localcluster.binaries import ensure_all
from localcluster.client import CREDENTIALS, OPERATORS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until

SLOW_POD = 6.0


def main() -> None:
    rounds = next(iter(numbers_in(sys.argv[1:])), 15)
    commit = commit_in(sys.argv[1:])
    ensure_all()
    with sides(commit) as both:
        for name, code in [*both.items()] * (2 if commit else 1):
            if commit:
                print(f"\n{name}:", flush=True)
            with environment_of(code, compared=bool(commit)) as environment:
                warm(environment, rounds)
                unchanged(environment, rounds)
    if not commit:
        with Environment(pod_delay=SLOW_POD) as environment:
            slow_pods(environment)


def warm(environment: Environment, rounds: int) -> None:
    """A CR is created with the Secret there; measured until its status says Ready."""
    person, worker = Person(environment.cluster), environment.workers[0]
    person.put_secret(CREDENTIALS)
    took: list[float] = []
    sent: list[Requests] = []
    for number in range(rounds + 1):
        before = requests_of(worker)
        began = time.monotonic()
        person.create_operator("bench")
        wait_until(lambda: ready(person), "the CR to be Ready", every=0.005)
        elapsed = time.monotonic() - began
        time.sleep(1.5)  # the passes that follow from becoming ready
        if number:  # the first one warms up
            took.append(elapsed)
            sent.append(requests_of(worker) - before)
        person.delete_operator("bench")
        wait_until(lambda: person.status("bench") is None, "the CR to be gone", every=0.005)
        time.sleep(0.5)
    wall, activities = asyncio.run(shares(environment, "ProvisionWorkflow"))
    print(f"\nCR created -> Ready: {distribution(took)}")
    print(f"  requests until Ready and in the passes that follow: {sent[-1]}")
    print(f"  a workflow, until its end: {wall:.3f} s (median), of which {activities:.3f} s in regular activities")
    print(f"  (API server, Helm, pods) and {wall - activities:.3f} s in Temporal and local activities")
    print(f"  API requests of one CR, added up: {statistics.median(s.seconds for s in sent):.3f} s, many side by side")


def unchanged(environment: Environment, rounds: int) -> None:
    """A look at a Ready CR with nothing to do, asked for by a changed label."""
    person, worker = Person(environment.cluster), environment.workers[0]
    person.create_operator("bench")
    wait_until(lambda: ready(person), "the CR to be Ready", every=0.005)
    time.sleep(2)
    sent = []
    for number in range(rounds):
        before = requests_of(worker)
        body = {"metadata": {"labels": {"bench": str(number)}}}
        path = f"{OPERATORS}/namespaces/kyma-system/btpoperators/bench"
        environment.cluster.request("PATCH", path, body, "application/merge-patch+json")
        time.sleep(0.8)
        sent.append(requests_of(worker) - before)
    took = asyncio.run(durations(environment, rounds))
    print(f"\nA pass over an unchanged CR: {distribution(took)}")
    print(f"  {sent[-1]}")
    person.delete_operator("bench")
    wait_until(lambda: person.status("bench") is None, "the CR to be gone", every=0.005)


def slow_pods(environment: Environment) -> None:
    """Pods take seconds; what counts is how soon after the last one the CR says Ready."""
    person = Person(environment.cluster)
    person.put_secret(CREDENTIALS)
    late = []
    for _ in range(3):
        person.create_operator("bench")
        wait_until(lambda: pod_ready(environment), "the pod to be ready", every=0.005)
        seen = time.monotonic()
        wait_until(lambda: ready(person), "the CR to be Ready", every=0.005)
        late.append(time.monotonic() - seen)
        person.delete_operator("bench")
        wait_until(lambda: person.status("bench") is None, "the CR to be gone", every=0.005)
    print(f"\nPods take {SLOW_POD:.0f} s; from the last one ready to the CR Ready: {distribution(late)}")


async def shares(environment: Environment, kind: str) -> tuple[float, float]:
    """Median wall time of the workflows that applied the chart, and of the regular activities in them."""
    client = await Temporal.connect(environment.temporal.address, data_converter=pydantic_data_converter)
    walls, busy = [], []
    async for execution in client.list_workflows(f"WorkflowType = '{kind}' AND ExecutionStatus = 'Completed'"):
        history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
        started: dict[int, float] = {}
        total = 0.0
        for event in history.events:
            at = event.event_time.seconds + event.event_time.nanos / 1e9
            if event.HasField("activity_task_started_event_attributes"):
                started[event.event_id] = at
            elif event.HasField("activity_task_completed_event_attributes"):
                total += at - started[event.activity_task_completed_event_attributes.started_event_id]
        if total:
            walls.append(lasted(execution))
            busy.append(total)
    return statistics.median(walls), statistics.median(busy)


async def durations(environment: Environment, count: int) -> list[float]:
    """How long the latest workflows took, from start to end, by Temporal's clock."""
    client = await Temporal.connect(environment.temporal.address, data_converter=pydantic_data_converter)
    found = [e async for e in client.list_workflows("WorkflowType = 'ProvisionWorkflow'")]
    return [lasted(execution) for execution in found[:count]]


def lasted(execution: WorkflowExecution) -> float:
    assert execution.close_time is not None
    return (execution.close_time - execution.start_time).total_seconds()


def ready(person: Person) -> bool:
    status = person.status("bench")
    return status is not None and status.state == "Ready"


def pod_ready(environment: Environment) -> bool:
    pods = environment.cluster.request("GET", "/api/v1/namespaces/kyma-system/pods")["items"]
    conditions = [c for pod in pods for c in pod["status"].get("conditions") or []]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


if __name__ == "__main__":
    main()
