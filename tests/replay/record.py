"""`make record`: plays every path on real servers and keeps the workflow histories that the replay tests use.

Only histories that are not there yet are kept. Where a path changed, rename its history, `-before-` and the patch, and
record again (one part alone: `make record ARGS=reclaims`): the old one stays as long as such a workflow may still be
running somewhere, for replaying it is what proves that a new version can take it over.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from dispatch.names import default_task_queue, workflow_id
from localcluster.binaries import ensure_all
from localcluster.controlplane import NODE
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.deletion_record import ExtendRequest, HoldRequest, ResumeRequest
from models.limits import OperandTeardown
from models.names import DELETION_REQUESTED, KYMA_NAMESPACE, LOOK_AGAIN, OPERAND_FINALIZER, RECLAIM_SECRET
from tests.e2e.deletion import Scene
from workflows.deprovision import DeprovisionWorkflow

HISTORIES = Path(__file__).parent / "histories"
MERGE = "application/merge-patch+json"
INSTANCE = "/apis/services.cloud.sap.com/v1/namespaces/team-a/serviceinstances/instance-0"


def impersonal(history: str) -> str:
    """The history without what names the machine it was recorded on: identities of processes, and stack traces."""

    def strip(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if key not in ("identity", "stackTrace")}
        if isinstance(node, str) and re.match(r"\d+@", node):
            return "worker"  # a sticky queue is named by its process and host
        return [strip(each) for each in node] if isinstance(node, list) else node

    return json.dumps(strip(json.loads(history)), indent=2)


class Recorder:
    """Keeps the history of the workflow that a step started."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._known: set[str] = set()

    async def client(self) -> Client:
        return await Client.connect(self.scene.environment.temporal.address, data_converter=pydantic_data_converter)

    async def keep(self, name: str, kind: str, act: Callable[[], Any], *words: str) -> None:
        """Do something, wait until nothing runs, and keep the newest history of that kind with these words in it."""
        client = await self.client()
        act()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            if (await client.count_workflows("ExecutionStatus = 'Running'")).count:
                continue
            async for execution in client.list_workflows(f"WorkflowType = '{kind}'"):
                if execution.run_id in self._known:
                    continue
                history = await client.get_workflow_handle(execution.id, run_id=execution.run_id).fetch_history()
                text = history.to_json()
                payloads = b"".join(event.SerializeToString() for event in history.events)
                if all(word in text or word.encode() in payloads for word in words):
                    self._known.add(execution.run_id)
                    file = HISTORIES / f"{name}.json"
                    if not file.exists():
                        file.write_text(impersonal(text) + "\n")
                        print(f"{name}: {len(history.events)} events", flush=True)
                    return
        raise SystemExit(f"{name}: no {kind} history with {words}")

    def workflow_id(self) -> str:
        mandate = self.scene.mandate()
        return workflow_id(mandate, default_task_queue(mandate.cluster))


async def provisioning(recorder: Recorder) -> None:
    scene = recorder.scene
    person, kind = scene.person, "ProvisionWorkflow"
    await recorder.keep("provision-missing-secret", kind, lambda: person.create_operator("btpoperator"), "MissingSec")
    await recorder.keep("provision-invalid-secret", kind, lambda: person.put_secret({"clientid": "x"}), "InvalidSecret")
    await recorder.keep(
        "provision-ready", kind, lambda: person.put_secret(scene.sap.credentials()), "apply_chart", "ReconcileSucceeded"
    )
    service = "/api/v1/namespaces/kyma-system/services/sap-btp-operator-controller-manager-metrics-service"
    await recorder.keep("provision-drift", kind, lambda: person.delete(service), "check_drift", "Processing")
    await asyncio.sleep(1.1)
    await recorder.keep("provision-spare", kind, lambda: person.create_operator("spare"), "OlderCRExists")
    person.delete_operator("spare")
    schedule = (await recorder.client()).get_schedule_handle(recorder.scene.schedule())
    await schedule.trigger()
    await recorder.keep("resync", "ResyncWorkflow", lambda: None)


async def deletions(recorder: Recorder) -> None:
    scene, kind = recorder.scene, "DeprovisionWorkflow"
    scene.operand = scene.environment.start_operand()
    scene.make({"team-a": 2})
    await recorder.keep("deprovision-hard", kind, scene.delete, "hard_delete", '"hard"')
    scene.ready()
    await recorder.keep("deprovision-nothing-there", kind, scene.delete, "remove_operand")
    scene.ready()
    scene.make({"team-a": 2})
    scene.operand.kill()
    await recorder.keep("deprovision-soft", kind, scene.delete, "not done within")

    scene.ready()
    scene.make({"team-a": 1})
    scene.environment.cluster.request(
        "PATCH", INSTANCE, {"metadata": {"finalizers": [OPERAND_FINALIZER, "example.com/theirs"]}}, MERGE
    )

    def fail() -> None:
        scene.person.delete_operator("btpoperator")
        scene.until(lambda: scene.reason() == "ResourceRemovalFailed", "the failure", 60)

    await recorder.keep("deprovision-failed", kind, fail, "workflowExecutionFailedEventAttributes", '"News"')
    scene.environment.cluster.request("PATCH", INSTANCE, {"metadata": {"finalizers": None}}, MERGE)
    scene.gone()

    scene.ready()
    scene.make({"team-a": 1})
    assert scene.operand is not None
    scene.operand.kill()

    def lose() -> None:
        scene.says("HardDeleting", "1 ServiceBinding", "soft delete follows")  # hard delete runs
        scene.person.delete("/apis/apps/v1/namespaces/kyma-system/deployments/sap-btp-operator-controller-manager")
        scene.says("HardDeleting", "the operand was restored")
        scene.operand = scene.environment.start_operand()

    await scene.delete_by(OperandTeardown.AUTO, timedelta(minutes=1), lose)
    await recorder.keep("deprovision-restored", kind, lambda: None, '["Deployment kyma-system/')

    scene.ready()
    scene.make({"team-a": 1})
    await scene.delete_by(OperandTeardown.FIRST, timedelta(seconds=4))
    await recorder.keep("deprovision-operand-first", kind, lambda: None, "first")


async def interventions(recorder: Recorder) -> None:
    scene, kind = recorder.scene, "DeprovisionWorkflow"
    client = await recorder.client()
    for name in ("retry", "skip", "extend"):
        scene.ready()
        scene.make({"team-a": 1})
        assert scene.operand is not None
        scene.operand.kill()
        handle = client.get_workflow_handle(recorder.workflow_id())
        scene.person.delete_operator("btpoperator")
        scene.until(lambda: scene.reason() == "HardDeleting", "hard delete")
        await asyncio.sleep(1)
        if name == "retry":
            await handle.execute_update(DeprovisionWorkflow.retry_now)
        else:
            if name == "extend":
                more = ExtendRequest(minutes=5, by="the recorder", why="a test")
                await handle.execute_update(DeprovisionWorkflow.extend, more)
                await handle.execute_update(DeprovisionWorkflow.hold, HoldRequest(by="the recorder", why="a test"))
                await handle.execute_update(DeprovisionWorkflow.resume, ResumeRequest(by="the recorder"))
            await handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "the recorder")
        await recorder.keep(f"deprovision-{name}", kind, scene.gone, name)


async def continuations(recorder: Recorder) -> None:
    """A flood of events during a hard delete: the run goes on as a new one, which keeps deadline and counts."""
    scene, kind = recorder.scene, "DeprovisionWorkflow"
    scene.ready()
    scene.make({"team-a": 1})
    assert scene.operand is not None
    scene.operand.kill()
    identity = recorder.workflow_id()

    def disturb() -> None:
        scene.until(lambda: scene.reason() == "HardDeleting", "hard delete")
        flood(scene.environment.temporal.address, identity, DELETION_REQUESTED)
        scene.operand = scene.environment.start_operand()

    await scene.delete_by(OperandTeardown.AUTO, timedelta(minutes=2), disturb)
    await recorder.keep("deprovision-continued", kind, lambda: None, '"continuedExecutionRunId"', "hard_delete")
    await recorder.keep("deprovision-continues", kind, lambda: None, "workflowExecutionContinuedAsNewEventAttributes")


async def reclaims(recorder: Recorder) -> None:
    """What a deletion let go is deleted in SAP BTP: refused first, and after a flood of signals by a new run."""
    scene, kind = recorder.scene, "ReclaimWorkflow"
    address = scene.environment.temporal.address
    scene.ready()
    scene.make({"team-a": 1})
    scene.person.put_secret(scene.sap.admin_credentials(), name=RECLAIM_SECRET)
    scene.sap.refused.add("instance-0")
    assert scene.operand is not None
    scene.operand.kill()
    identity = f"{recorder.workflow_id()}/reclaim"

    def disturb() -> None:
        scene.delete()
        flood(address, identity, LOOK_AGAIN)
        scene.sap.refused.clear()
        with contextlib.suppress(RPCError):  # the flood may have been enough
            flood(address, identity, LOOK_AGAIN, 1)

    await recorder.keep("reclaim-continued", kind, disturb, '"continuedExecutionRunId"')
    await recorder.keep("reclaim-continues", kind, lambda: None, "workflowExecutionContinuedAsNewEventAttributes")
    await recorder.keep("deprovision-reclaims", "DeprovisionWorkflow", lambda: None, "startChildWorkflowExecution")
    scene.person.delete(f"/api/v1/namespaces/{KYMA_NAMESPACE}/secrets/{RECLAIM_SECRET}")


def flood(address: str, identity: str, signal: str, hundreds: int = 11) -> None:
    """More signals than a run may have events. In a thread: the caller's event loop waits."""

    async def send() -> None:
        client = await Client.connect(address)
        for _ in range(hundreds):
            await asyncio.gather(*(client.get_workflow_handle(identity).signal(signal) for _ in range(100)))
            await asyncio.sleep(0.2)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, send()).result()


async def interruptions(recorder: Recorder) -> None:
    """A pod that does not become ready: given up after a while, or deleted before that."""
    scene, kind = recorder.scene, "ProvisionWorkflow"
    scene.person.put_secret(scene.sap.credentials())

    def give_up() -> None:
        scene.person.create_operator("btpoperator")
        scene.until(lambda: scene.reason() == "ProvisioningFailed", "giving up", 60)

    await recorder.keep("provision-not-ready-in-time", kind, give_up, "ProvisioningFailed")
    scene.delete()

    def delete_early() -> None:
        scene.person.create_operator("btpoperator")
        scene.until(scene.person.managed_objects, "the chart to be applied")
        scene.delete()

    await recorder.keep("provision-deleted-meanwhile", kind, delete_early, "workflowExecutionContinuedAsNew")

    def disturb() -> None:
        scene.person.create_operator("btpoperator")
        scene.until(scene.person.managed_objects, "the chart to be applied")
        flood(scene.environment.temporal.address, recorder.workflow_id(), LOOK_AGAIN)
        scene.until(lambda: scene.reason() == "ProvisioningFailed", "giving up", 60)

    await recorder.keep("provision-continued", kind, disturb, '"continuedExecutionRunId"')
    await recorder.keep("provision-continues", kind, lambda: None, "workflowExecutionContinuedAsNewEventAttributes")


async def troubles(recorder: Recorder) -> None:
    """A pod that cannot start at first: the CR says why before it is Ready."""
    scene = recorder.scene
    scene.operand = scene.environment.start_operand()  # its webhooks are called

    def cordon(yes: bool) -> None:
        scene.environment.cluster.request("PATCH", f"/api/v1/nodes/{NODE}", {"spec": {"unschedulable": yes}}, MERGE)

    def start_late() -> None:
        cordon(True)
        scene.person.put_secret(scene.sap.credentials())
        scene.person.create_operator("btpoperator")
        scene.until(lambda: "not ready yet" in scene.message(), "the pod's trouble to be said", 60)
        cordon(False)
        scene.until(lambda: scene.state() == "Ready", "the CR to be Ready", 60)

    await recorder.keep("provision-troubled", "ProvisionWorkflow", start_late, '"News"', "ReconcileSucceeded")
    scene.delete()


Part = Callable[[Recorder], Awaitable[None]]
PARTS: tuple[Part, ...] = (provisioning, deletions, interventions, continuations, reclaims, troubles)
PARTS_WITHOUT_PODS: tuple[Part, ...] = (interruptions,)


async def main(names: list[str]) -> None:
    """Record what these parts play; all without names."""
    HISTORIES.mkdir(exist_ok=True)
    settings = {
        "BTP_HARD_DELETE_TIMEOUT": "4s",
        "BTP_READY_TIMEOUT": "15s",
        "BTP_DELETE_REQUEST_TIMEOUT": "12s",
        "BTP_ANY_ADDRESS": "true",
    }
    for parts, pod_delay in ((PARTS, 0.0), (PARTS_WITHOUT_PODS, 600.0)):
        wanted = [part for part in parts if not names or part.__name__ in names]
        if wanted:
            with ServiceManager() as sap, Environment(settings, pod_delay=pod_delay) as environment:
                recorder = Recorder(Scene(environment, sap))
                for part in wanted:
                    await part(recorder)


if __name__ == "__main__":
    ensure_all()
    sys.exit(asyncio.run(main(sys.argv[1:])))
