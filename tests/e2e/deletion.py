"""What the stories about deletion share: an operand that is Ready, a stand-in Service Manager, and service objects."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio.client import Client as Temporal
from temporalio.client import WorkflowUpdateFailedError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from dispatch.names import default_task_queue, schedule_id, workflow_id
from dispatch.nudger import Nudger
from kube.resources import BTP_OPERATORS, NAMESPACES
from localcluster.client import Person
from localcluster.environment import Environment, Manager
from localcluster.processes import Process, wait_until
from localcluster.servicemanager import ServiceManager
from models.deletion_record import ExtendRequest
from models.deprovision import DeprovisionResult, ReleaseKind
from models.limits import Limits, OperandTeardown
from models.mandate import Mandate
from models.names import KYMA_NAMESPACE
from models.operators import Operator


class Scene:
    """One environment with everything in it; each story begins with `ready`."""

    def __init__(self, environment: Environment, sap: ServiceManager) -> None:
        self.environment = environment
        self.sap = sap
        self.person = Person(environment.cluster)
        self.operand: Process | None = None

    def ready(self, name: str = "btpoperator", seconds: float = 30) -> None:
        """A Ready CR and a living operand, with nothing left of earlier stories."""
        self.sap.forget()
        self.person.delete("/api/v1/namespaces/kyma-system/configmaps/sap-btp-abandoned")
        self.person.put_secret(self.sap.credentials())
        if self.operand is None or not self.operand.alive:
            self.operand = self.environment.start_operand()  # Ready asks its webhooks
        self.person.create_operator(name)
        self.until(lambda: self.state(name) == "Ready", "the CR to be Ready", seconds)

    def make(self, pairs: dict[str, int], **binding: Any) -> None:
        """So many instances with a binding each in these namespaces, and wait until SAP has them all."""
        for namespace, count in pairs.items():
            self.person.ensure_namespace(namespace)
            for number in range(count):
                self.patiently(partial(self.person.create_instance, namespace, f"instance-{number}"))
                self.person.create_binding(namespace, f"binding-{number}", f"instance-{number}", **binding)
        total = sum(pairs.values())
        self.until(lambda: len(self.sap.instances) == len(self.sap.bindings) == total, "SAP to have them", 60)
        self.until(
            lambda: all((obj.get("status") or {}).get("ready") for obj in self.person.service_objects()),
            "all ready",
            60,
        )

    def patiently(self, act: Callable[[], None]) -> None:
        """The operand's webhooks take a moment to be there."""

        def works() -> bool:
            try:
                act()
            except OSError:
                return False
            return True

        self.until(works, "the operand's webhooks to answer")

    def hang(self) -> None:
        """Delete the CR while the operand is dead, with an instance and a binding, and wait until hard delete runs."""
        self.ready()
        self.make({"team-a": 1})
        assert self.operand is not None
        self.operand.kill()
        self.person.delete_operator("btpoperator")
        self.says("HardDeleting", "1 ServiceBinding and 1 ServiceInstance left", "soft delete follows")

    def delete(self, name: str = "btpoperator", seconds: float = 90) -> None:
        """Delete the CR and wait until it is gone."""
        self.person.delete_operator(name)
        self.gone(name, seconds)

    async def delete_by(
        self, teardown: OperandTeardown, budget: timedelta, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Delete the CR under another policy and budget than the processes were started with: the trigger rests."""
        trigger, worker = self.environment.triggers[0], self.environment.workers[0]
        trigger.stop()
        settings = worker.environment
        seconds = f"{budget.total_seconds():.0f}s"
        worker.environment = {**settings, "BTP_OPERAND_TEARDOWN": teardown, "BTP_HARD_DELETE_TIMEOUT": seconds}
        self.restart(worker)  # an input alone can neither shorten the budget nor have the operand go first
        mandate = self.mandate()
        self.person.delete_operator("btpoperator")
        client = await Temporal.connect(self.environment.temporal.address, data_converter=pydantic_data_converter)
        limits = Limits(hard_delete_timeout=budget)
        nudger = Nudger(client, default_task_queue(mandate.cluster), mandate.cluster, limits, teardown)
        await nudger.nudge(mandate.ref, deleting=True)
        meanwhile()
        self.gone()
        worker.environment = settings
        self.restart(worker)
        trigger.start()
        trigger.wait_ready()

    def restart(self, manager: Manager) -> None:
        """Have a process begin anew, with the settings of now."""
        manager.stop()
        manager.start()
        manager.wait_ready()

    def mandate(self, name: str = "btpoperator") -> Mandate:
        """For which CR, in which cluster, the processes act."""
        operator = self.person.get(BTP_OPERATORS.path(KYMA_NAMESPACE, name)) or {}
        cluster = self.person.get(NAMESPACES.path(name="kube-system")) or {}
        return Mandate(cluster=cluster["metadata"]["uid"], ref=Operator.from_object(operator).ref)

    def schedule(self) -> str:
        """The id of this cluster's resync."""
        cluster = self.person.get(NAMESPACES.path(name="kube-system")) or {}
        return schedule_id(default_task_queue(cluster["metadata"]["uid"]))

    def gone(self, name: str = "btpoperator", seconds: float = 90) -> None:
        self.until(lambda: self.person.status(name) is None, f"CR {name} to be gone", seconds)

    def state(self, name: str = "btpoperator") -> str:
        status = self.person.status(name)
        return status.state if status else ""

    def reason(self, name: str = "btpoperator") -> str:
        status = self.person.status(name)
        return status.reason if status else ""

    def message(self, name: str = "btpoperator") -> str:
        status = self.person.status(name)
        return status.message if status else ""

    def says(self, reason: str, *words: str, seconds: float = 30) -> None:
        """Wait until one look at the CR shows this reason with these words: the next one may show another try."""

        def so() -> bool:
            status = self.person.status("btpoperator")
            return status is not None and status.reason == reason and all(word in status.message for word in words)

        self.until(so, f"{reason} with {words}", seconds)

    def until(self, true: Callable[[], Any], what: str, seconds: float = 30) -> None:
        wait_until(true, lambda: f"{what} (the CR says {self.person.status('btpoperator')})", seconds=seconds)

    def nothing_left(self) -> None:
        """Neither of the operand nor of service objects."""
        assert self.person.service_objects() == []
        assert self.person.managed_objects() == [], self.person.managed_objects()

    def reported(self) -> dict[str, dict[str, Any]]:
        """What ConfigMap sap-btp-abandoned names, by `namespace/name`."""
        found = self.person.get("/api/v1/namespaces/kyma-system/configmaps/sap-btp-abandoned")
        lines = found["data"]["objects.jsonl"].splitlines() if found else []
        entries = [json.loads(line) for line in lines]
        return {f"{entry['namespace']}/{entry['name']}": entry for entry in entries}

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self.person.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")

    async def give_more_time(self, mandate: Mandate) -> None:
        """Extend hard delete as soon as it runs, unless it is over before: for what is not about the budget's end."""
        client = await Temporal.connect(self.environment.temporal.address, data_converter=pydantic_data_converter)
        handle = client.get_workflow_handle(workflow_id(mandate, default_task_queue(mandate.cluster)))
        request = ExtendRequest(minutes=3, by="test", why="a busy machine")
        while self.state():
            with suppress(WorkflowUpdateFailedError, RPCError):
                await handle.execute_update("extend", request)
                return
            await asyncio.sleep(0.2)

    async def settled(self) -> Temporal:
        """A client, once no workflow runs: one that took a CR's finalizer off ends a moment after the CR is gone."""
        client = await Temporal.connect(self.environment.temporal.address, data_converter=pydantic_data_converter)
        async with asyncio.timeout(30):
            while (await client.count_workflows("ExecutionStatus = 'Running'")).count:
                await asyncio.sleep(0.05)
        return client

    async def result(self, outcome: ReleaseKind = ReleaseKind.DEPROVISION) -> DeprovisionResult:
        """What the latest DeprovisionWorkflow said, of those with this outcome."""
        client = await self.settled()
        query = "WorkflowType = 'DeprovisionWorkflow' AND ExecutionStatus = 'Completed'"
        async for execution in client.list_workflows(query):
            handle = client.get_workflow_handle(execution.id, run_id=execution.run_id, result_type=DeprovisionResult)
            result: DeprovisionResult = await handle.result()
            if result.outcome is outcome:
                return result
        raise AssertionError(f"no DeprovisionWorkflow has completed with {outcome}")
