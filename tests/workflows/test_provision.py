"""What ProvisionWorkflow decides, on Temporal's dev server: signals and continue-as-new need the real one."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.testing import WorkflowEnvironment

from dispatch.names import default_task_queue, workflow_id
from dispatch.nudger import Nudger
from models import provision as rivalry
from models.conditions import Reason
from models.deprovision import DeletionMode, DeprovisionResult, ReleaseKind
from models.limits import Limits, OperandTeardown
from models.names import DELETION_REQUESTED, LOOK_AGAIN
from models.operator_input import SoFar
from models.provision import Assessment, Contest, ProvisionOutcome, ProvisionResult, Rivalry, Standing, Survey
from models.status import Finding
from tests.workflows.world import MANDATE, REF, World, an_input, refused, runs_of, serving
from workflows.provision import ProvisionWorkflow

Handle = WorkflowHandle[ProvisionWorkflow, ProvisionResult]


async def start(client: Client, task_queue: str, **limits: Any) -> Handle:
    return await client.start_workflow(
        ProvisionWorkflow.run, an_input(**limits), id=f"test/{uuid.uuid4()}", task_queue=task_queue
    )


async def run(client: Client, world: World, **limits: Any) -> ProvisionResult:
    async with serving(client, world) as task_queue:
        return await (await start(client, task_queue, **limits)).result()


async def test_all_well_ends_in_ready(temporal: Client) -> None:
    world = World()
    result = await run(temporal, world)
    assert result.outcome is ProvisionOutcome.READY and result.passes == 1 and result.written == 1
    assert world.reasons == [Reason.INITIALIZED, Reason.RECONCILE_SUCCEEDED]
    assert world.called == ["assess", "apply", "wait"]


async def test_a_token_url_that_the_operand_does_not_trust_is_told_beside_ready(temporal: Client) -> None:
    world = World(doubt="the certificate at tokenurl is not trusted: self-signed certificate")
    result = await run(temporal, world)
    assert result.outcome is ProvisionOutcome.READY and world.reasons[-1] is Reason.RECONCILE_SUCCEEDED
    assert world.messages[-1] == f"the operand is installed and ready, but {world.doubt}"
    assert world.called == ["assess", "apply", "wait", "event TokenURLNotTrusted"]


async def test_a_look_at_the_token_url_that_fails_takes_nothing_from_ready(temporal: Client) -> None:
    world = World(refused="check_token_url")
    result = await run(temporal, world)
    assert result.outcome is ProvisionOutcome.READY and world.messages[-1] == "the operand is installed and ready"


async def test_a_cr_without_our_finalizer_gets_it_before_anything_is_applied(temporal: Client) -> None:
    world = World(assessment=Assessment(standing=Standing.RESPONSIBLE))
    await run(temporal, world)
    assert world.called == ["assess", "add finalizer", "apply", "wait"]


async def test_a_ready_cr_whose_cluster_is_unchanged_is_only_looked_at(temporal: Client) -> None:
    world = World()
    world.assessment = world.assessment.model_copy(update={"reason": Reason.RECONCILE_SUCCEEDED})
    result = await run(temporal, world)
    assert world.called == ["assess", "check drift"] and result.written == 0


async def test_a_ready_cr_that_lost_something_says_so_before_it_is_mended(temporal: Client) -> None:
    world = World(survey_says=Survey(drifted=["ClusterRole r"], unready=["Deployment d is not available"]))
    world.assessment = world.assessment.model_copy(update={"reason": Reason.RECONCILE_SUCCEEDED})
    await run(temporal, world)
    assert world.reasons == [Reason.PROCESSING, Reason.RECONCILE_SUCCEEDED]
    assert world.messages[0] == "changed: ClusterRole r; not ready: Deployment d is not available"


async def test_a_finding_becomes_the_condition_and_nothing_is_applied(temporal: Client) -> None:
    finding = Finding(reason=Reason.INVALID_SECRET, message="missing keys: tokenurl")
    world = World(assessment=Assessment(standing=Standing.RESPONSIBLE, claimed=True, finding=finding))
    result = await run(temporal, world)
    assert (result.outcome, result.reason) == (ProvisionOutcome.NOT_READY, Reason.INVALID_SECRET)
    assert world.reasons == [Reason.INVALID_SECRET] and "apply" not in world.called


async def test_a_spare_cr_names_the_responsible_one_and_holds_no_finalizer(temporal: Client) -> None:
    finding = Finding(reason=Reason.OLDER_CR_EXISTS, message="another is responsible")
    world = World(assessment=Assessment(standing=Standing.SPARE, claimed=True, finding=finding))
    result = await run(temporal, world)
    assert result.outcome is ProvisionOutcome.SPARE
    assert world.called == ["assess", "remove finalizer"] and world.reasons == [Reason.OLDER_CR_EXISTS]


async def test_a_cr_that_is_gone_ends_it_without_a_word(temporal: Client) -> None:
    world = World(assessment=Assessment(standing=Standing.GONE))
    assert (await run(temporal, world)).outcome is ProvisionOutcome.GONE
    assert world.reasons == []


@pytest.mark.parametrize("reason", [Reason.CHART_INSTALL_FAILED, Reason.MISSING_PRIORITY_CLASS, Reason.MISSING_SECRET])
async def test_what_is_refused_for_good_becomes_the_condition_at_once(temporal: Client, reason: Reason) -> None:
    world = World(apply_fails=refused(reason, "Service s: refused"))
    result = await run(temporal, world)
    assert (result.outcome, result.reason, result.message) == (ProvisionOutcome.NOT_READY, reason, "Service s: refused")


async def test_a_spare_that_becomes_responsible_before_it_is_let_go_is_provisioned(temporal: Client) -> None:
    older = Finding(reason=Reason.OLDER_CR_EXISTS, message="another")
    spare = Assessment(standing=Standing.SPARE, claimed=True, finding=older)
    world = World(assessment=spare, older_vanishes=True)
    result = await run(temporal, world)
    assert result.outcome is ProvisionOutcome.READY
    assert "remove finalizer" not in world.called and Reason.OLDER_CR_EXISTS not in world.reasons


@pytest.mark.parametrize("refused", ["assess_operator", "add_finalizer", "remove_finalizer"])
async def test_a_right_that_is_missing_is_said_on_the_cr(temporal: Client, refused: str) -> None:
    standing = Standing.SPARE if refused == "remove_finalizer" else Standing.RESPONSIBLE
    finding = Finding(reason=Reason.OLDER_CR_EXISTS, message="another") if refused == "remove_finalizer" else None
    claimed = refused == "remove_finalizer"
    world = World(refused=refused, assessment=Assessment(standing=standing, claimed=claimed, finding=finding))
    result = await run(temporal, world)
    assert (result.outcome, result.reason) == (ProvisionOutcome.NOT_READY, Reason.PROVISIONING_FAILED)
    assert world.messages == [f"{refused}: forbidden (403)"]


async def test_a_look_at_a_ready_cr_that_is_refused_leads_to_applying_which_names_the_trouble(temporal: Client) -> None:
    ready = Assessment(standing=Standing.RESPONSIBLE, claimed=True, reason=Reason.RECONCILE_SUCCEEDED)
    fails = refused(Reason.CHART_INSTALL_FAILED, "Service s: no")
    world = World(refused="check_drift", assessment=ready, apply_fails=fails)
    result = await run(temporal, world)
    assert (result.reason, result.message) == (Reason.CHART_INSTALL_FAILED, "Service s: no")


async def test_a_look_at_a_ready_cr_that_fails_for_good_though_the_api_server_answers_leads_to_applying_soon(
    skipping: WorkflowEnvironment,
) -> None:
    """As where one object of the chart cannot be read, or a webhook fails the dry run of it, for ever."""
    ready = Assessment(standing=Standing.RESPONSIBLE, claimed=True, reason=Reason.RECONCILE_SUCCEEDED)
    fails = refused(Reason.CHART_INSTALL_FAILED, "Service s: no")
    world = World(refused="check_drift", refused_as="Unavailable", assessment=ready, apply_fails=fails)
    result = await run(skipping.client, world)
    assert (result.reason, result.message) == (Reason.CHART_INSTALL_FAILED, "Service s: no")
    assert 2 < world.times_refused < 20


async def test_what_is_not_ready_in_time_is_named(temporal: Client) -> None:
    result = await run(temporal, World(ready=False), ready_timeout=timedelta(seconds=2))
    assert result.reason is Reason.PROVISIONING_FAILED
    assert result.message == "not ready within 2s: Deployment kyma-system/operand: 0 of 1 pods are available"


@pytest.mark.parametrize("asked", [timedelta(hours=1), timedelta(seconds=1)])
async def test_the_workers_settings_say_how_long_readiness_is_waited_for_whatever_the_input_asks(
    temporal: Client, asked: timedelta
) -> None:
    world = World(ready=False)
    world.assessment = world.assessment.model_copy(update={"ready_timeout": timedelta(seconds=3)})
    result = await run(temporal, world, ready_timeout=asked)
    assert result.message.startswith("not ready within 3s: ")


async def test_what_keeps_a_pod_from_becoming_ready_is_said_long_before_the_deadline(temporal: Client) -> None:
    world = World(pod_troubles=["pod p: ErrImagePull no such image", "pod p: ImagePullBackOff"])
    result = await run(temporal, world, ready_timeout=timedelta(hours=1))
    assert world.reasons == [Reason.INITIALIZED, Reason.PROCESSING, Reason.PROCESSING, Reason.RECONCILE_SUCCEEDED]
    assert world.messages[1] == "not ready yet: pod p: ErrImagePull no such image"
    assert world.messages[2] == "not ready yet: pod p: ImagePullBackOff"
    assert result.outcome is ProvisionOutcome.READY and result.passes == 1 and world.called.count("wait") == 3


async def test_the_deadline_counts_on_while_it_is_said_why_a_pod_is_not_ready(temporal: Client) -> None:
    world = World(ready=False, pod_troubles=["pod p: ErrImagePull"])
    result = await run(temporal, world, ready_timeout=timedelta(seconds=2))
    assert world.reasons == [Reason.INITIALIZED, Reason.PROCESSING, Reason.PROVISIONING_FAILED]
    assert result.message == "not ready within 2s: Deployment kyma-system/operand: 0 of 1 pods are available"


RIVAL = Contest(object="ConfigMap c", field="data.a", manager="argocd")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(rivalry, "PAUSES", (0, 0, 0.1, 0.1))
    monkeypatch.setattr(rivalry, "QUIET", timedelta(seconds=2))


async def test_a_rival_is_named_then_an_error_and_forgotten_when_it_gives_up(temporal: Client, hasty: None) -> None:
    world = World(contested=[RIVAL])
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue, ready_timeout=timedelta(seconds=1))

        async def change_back() -> None:
            if world.contested:
                await handle.signal(LOOK_AGAIN)

        world.on_apply = change_back
        async with asyncio.timeout(20):
            while Reason.PROVISIONING_FAILED not in world.reasons:
                await asyncio.sleep(0.02)
        assert Reason.RECONCILE_SUCCEEDED not in world.reasons[-2:]
        sentence = "ConfigMap c: data.a is changed back by field manager 'argocd' whenever it is applied"
        assert sentence in world.messages and f"not ready within 1s: {sentence}" in world.messages
        world.contested = []
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.outcome is ProvisionOutcome.READY and world.reasons[-1] is Reason.RECONCILE_SUCCEEDED


async def test_a_run_stays_for_a_rival_that_is_slow_until_it_can_be_named(
    temporal: Client, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivalry, "CHANCE", timedelta(seconds=0.1))
    monkeypatch.setattr(rivalry, "QUIET", timedelta(seconds=0.1))
    world = World(contested=[RIVAL.model_copy(update={"within": timedelta(seconds=1.5)})])
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        for _ in range(2):
            await asyncio.sleep(1.5)
            await handle.signal(LOOK_AGAIN)  # fails if the run has ended
        while world.reasons[-1] is not Reason.PROCESSING:
            await asyncio.sleep(0.02)
        assert "data.a is changed back by field manager 'argocd'" in world.messages[-1]
        world.contested = []
        result = await asyncio.wait_for(handle.result(), 20)
    assert result.outcome is ProvisionOutcome.READY


async def test_a_run_that_goes_on_as_a_new_one_keeps_its_pause(temporal: Client) -> None:
    world, input = World(), an_input()
    contested = Rivalry(contests=[RIVAL.model_copy(update={"rounds": 2})], over_at=datetime.now(UTC))
    input.so_far = SoFar(rivalry=contested)
    async with serving(temporal, world) as task_queue:
        began = datetime.now(UTC)
        await temporal.execute_workflow(ProvisionWorkflow.run, input, id=f"test/{uuid.uuid4()}", task_queue=task_queue)
    assert datetime.now(UTC) - began >= timedelta(seconds=2)


async def test_a_deletion_does_not_wait_for_the_end_of_a_pause(temporal: Client) -> None:
    world, input = World(), an_input()
    contested = Rivalry(contests=[RIVAL.model_copy(update={"rounds": 9})], over_at=datetime.now(UTC))
    input.so_far = SoFar(rivalry=contested)
    async with serving(temporal, world) as task_queue:
        handle = await temporal.start_workflow(
            ProvisionWorkflow.run, input, id=f"test/{uuid.uuid4()}", task_queue=task_queue
        )
        while "assess" not in world.called:
            await asyncio.sleep(0.02)
        await handle.signal(DELETION_REQUESTED)
        await asyncio.wait_for(temporal.get_workflow_handle(handle.id).result(), 20)
    assert "apply" not in world.called


async def test_events_during_a_pass_lead_to_one_more_pass_however_many(temporal: Client) -> None:
    world = World(let_apply_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        await world.applying.wait()
        for _ in range(20):
            await handle.signal(LOOK_AGAIN)
        assert world.let_apply_end
        world.let_apply_end.set()
        result = await handle.result()
    assert result.passes == 2 and world.called.count("apply") == 2


async def test_a_change_while_readiness_is_waited_for_is_looked_at_without_waiting_longer(temporal: Client) -> None:
    world = World(ready=False)
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        while "wait" not in world.called:
            await asyncio.sleep(0.02)
        world.ready = True
        await handle.signal(LOOK_AGAIN)
        result = await asyncio.wait_for(handle.result(), 15)
    assert result.outcome is ProvisionOutcome.READY and result.passes == 2


@pytest.mark.parametrize("signal", [LOOK_AGAIN, DELETION_REQUESTED])
async def test_nothing_waits_until_a_look_at_readiness_hears_that_it_is_over(temporal: Client, signal: str) -> None:
    world = World(deaf_wait=(heard := asyncio.Event()))
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        while "wait" not in world.called:
            await asyncio.sleep(0.02)
        await handle.signal(signal)
        async with asyncio.timeout(20):
            while world.called.count("apply") < 2 and "remove operand" not in world.called:
                await asyncio.sleep(0.02)
        heard.set()
        await temporal.get_workflow_handle(handle.id).result()


async def test_a_deletion_stops_the_chart_and_waits_until_it_has_stopped(temporal: Client) -> None:
    world = World(let_apply_end=asyncio.Event(), stopping_takes=4)
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        await world.applying.wait()
        await handle.signal(DELETION_REQUESTED)
        latest = await temporal.get_workflow_handle(handle.id, result_type=DeprovisionResult).result()
    assert world.called[-1] == "remove finalizer"
    assert world.called.index("apply stopped") < world.called.index("remove operand")
    assert latest.mode is DeletionMode.HARD


async def test_a_cr_found_deleting_goes_on_as_a_deprovisioning_under_the_same_id(temporal: Client) -> None:
    world = World(assessment=Assessment(standing=Standing.DELETING, claimed=True))
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        await temporal.get_workflow_handle(handle.id).result()
        last = await temporal.get_workflow_handle(handle.id).describe()
    assert last.workflow_type == "DeprovisionWorkflow" and last.status is WorkflowExecutionStatus.COMPLETED
    assert "apply" not in world.called and world.called[-1] == "remove finalizer"


async def test_nudges_of_both_kinds_meet_in_one_workflow(temporal: Client) -> None:
    world = World(let_apply_end=asyncio.Event())
    async with serving(temporal, world) as task_queue:
        nudger = Nudger(temporal, task_queue, MANDATE.cluster, Limits(), OperandTeardown.AUTO)
        await asyncio.gather(*(nudger.nudge(REF, deleting=False) for _ in range(5)))
        await world.applying.wait()
        world.release = ReleaseKind.DEPROVISION
        await asyncio.gather(*(nudger.nudge(REF, deleting=bool(number % 2)) for number in range(6)))
        handle = temporal.get_workflow_handle(workflow_id(MANDATE, task_queue))
        await handle.result()
        runs = await runs_of(temporal, handle.id)
    assert world.called.count("apply") == 1 and world.called.count("remove resources") >= 1
    assert WorkflowExecutionStatus.FAILED not in {run.status for run in runs}


async def test_the_workflow_id_is_the_crs_own_and_prefixed_in_a_fleet(temporal: Client) -> None:
    assert workflow_id(MANDATE, default_task_queue(MANDATE.cluster)) == "btpoperator/kyma-system/btpoperator/0000-1111"
    assert workflow_id(MANDATE, "cluster-7") == "cluster-7/btpoperator/kyma-system/btpoperator/0000-1111"


async def test_a_hammered_cr_goes_on_in_new_runs_and_its_history_stays_short(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.calls.LONGEST_HISTORY", 40)
    world = World()
    world.assessment = world.assessment.model_copy(update={"reason": Reason.RECONCILE_SUCCEEDED})
    async with serving(temporal, world) as task_queue:
        handle = await start(temporal, task_queue)
        for _ in range(60):
            await temporal.start_workflow(
                ProvisionWorkflow.run,
                an_input(),
                id=handle.id,
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                start_signal=LOOK_AGAIN,
            )
        await temporal.get_workflow_handle(handle.id).result()
        runs = await runs_of(temporal, handle.id)
    assert len(runs) > 1
    assert max(run.history_length for run in runs) < 120
