"""Which CR is responsible, and what is written on it, against a real API server."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from activities.responsibility import ResponsibilityActivities
from activities.status import StatusActivities
from kube.client import Kube
from kube.resources import (
    BTP_OPERATORS,
    EVENTS,
)
from localcluster.client import Person
from localcluster.controlplane import ControlPlane
from localcluster.faults import Fault, FaultProxy
from localcluster.shipped import Shipped
from models.conditions import Reason, ready_condition
from models.deletion_record import DeletionRecord, ExtendRequest, HoldRequest, ResumeRequest
from models.deprovision import ReleaseKind
from models.limits import Bounds, Limits
from models.mandate import Mandate
from models.names import (
    FINALIZER,
    KYMA_NAMESPACE,
)
from models.operators import Operator, OperatorRef
from models.provision import Standing
from models.status import Finding, StatusInput
from operand.operators import Operators
from tests.acting import deprovision, letting_go, mandate_for, provision
from tests.activities.steps import Steps
from tests.cluster import connected


async def test_the_older_of_two_is_responsible_and_the_other_names_it(
    steps: Steps, kube: Kube, ref: OperatorRef, person: Person, credentials: dict[str, str]
) -> None:
    await asyncio.sleep(1.1)  # creation times have whole seconds
    mandate = await mandate_for(kube, ref)
    younger = await mandate_for(kube, Operator.from_object(person.create_operator("a-younger")).ref)
    assert (await provision(steps.responsibility.assess_operator, mandate)).standing is Standing.RESPONSIBLE
    spare = await provision(steps.responsibility.assess_operator, younger)
    assert spare.standing is Standing.SPARE
    assert spare.finding is not None and "kyma-system/btpoperator (since 2" in spare.finding.message
    assert not await provision(steps.responsibility.add_finalizer, younger)


async def test_a_look_says_for_how_long_the_workers_settings_have_readiness_waited_for(
    worker: Kube, mandate: Mandate, credentials: dict[str, str]
) -> None:
    bounds = Bounds(limits=Limits(ready_timeout=timedelta(seconds=7)))
    seen = await provision(ResponsibilityActivities(worker, bounds).assess_operator, mandate)
    assert seen.ready_timeout == timedelta(seconds=7)


async def test_two_made_in_the_same_second_and_claiming_at_once_end_with_one_finalizer(
    steps: Steps, kube: Kube, person: Person
) -> None:
    for round_ in range(5):
        refs = [Operator.from_object(person.create_operator(f"{name}{round_}")).ref for name in "ba"]
        made = [await mandate_for(kube, ref) for ref in refs]
        results = await asyncio.gather(
            *(provision(steps.responsibility.add_finalizer, mandate) for mandate in made for _ in range(2)),
            return_exceptions=True,
        )
        assert any(result is True for result in results)
        operators = [Operator.from_object(obj) for obj in (await kube.list(BTP_OPERATORS)).items]
        assert [operator.holds_finalizer for operator in operators].count(True) == 1
        for operator in operators:
            await kube.merge(
                BTP_OPERATORS, operator.ref.name, operator.ref.namespace, {"metadata": {"finalizers": None}}
            )
            await kube.delete(BTP_OPERATORS, operator.ref.name, operator.ref.namespace)


async def test_a_claim_that_was_decided_before_a_contender_came_does_not_hold(
    steps: Steps, kube: Kube, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.sleep(1 - time.time() % 1)  # both are made in one second
    late = await mandate_for(kube, Operator.from_object(person.create_operator("b")).ref)
    seen_alone = await steps.responsibility._operators.look()
    early = await mandate_for(kube, Operator.from_object(person.create_operator("a")).ref)
    operators = await steps.responsibility._operators.look()
    assert operators[0].created == operators[1].created
    assert await provision(steps.responsibility.add_finalizer, early)

    async def stale() -> list[Operator]:
        return seen_alone

    monkeypatch.setattr(steps.responsibility._operators, "look", stale)
    with pytest.raises(Exception, match="409"):
        await provision(steps.responsibility.add_finalizer, late)
    assert FINALIZER not in ((await kube.get(BTP_OPERATORS, "b", KYMA_NAMESPACE))["metadata"].get("finalizers") or [])


async def test_many_who_are_looked_at_at_once_cost_few_lists_of_all(worker: Kube, person: Person) -> None:
    operators = [Operator.from_object(person.create_operator(f"cr-{number:03}")) for number in range(60)]
    mandates = [await mandate_for(worker, operator.ref) for operator in operators]
    assess = ResponsibilityActivities(worker).assess_operator
    before = lists_of_operators()
    found = await asyncio.gather(*(provision(assess, mandate) for mandate in mandates))
    assert [each.standing for each in found].count(Standing.SPARE) == len(operators) - 1
    assert lists_of_operators() - before <= 3


async def test_a_look_sees_what_was_there_when_it_was_asked_for(worker: Kube, person: Person) -> None:
    operators, seen = Operators(worker), asyncio.Event()

    async def look() -> list[str]:
        found = await operators.look()
        seen.set()
        return [operator.ref.name for operator in found]

    early = asyncio.create_task(look())
    await asyncio.sleep(0)  # its request is on its way
    person.create_operator("late")
    late = [asyncio.create_task(look()) for _ in range(3)]
    await early
    assert await asyncio.gather(*late) == [["late"]] * 3


def lists_of_operators() -> float:
    labels = {"verb": "list", "kind": "BtpOperator", "code": "200"}
    return REGISTRY.get_sample_value("btp_kube_requests_total", labels) or 0


async def test_claiming_and_disclaiming_leave_finalizers_of_others_alone(
    steps: Steps, kube: Kube, ref: OperatorRef
) -> None:
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": ["example.com/theirs"]}})
    mandate = await mandate_for(kube, ref)
    for _ in range(2):
        assert await provision(steps.responsibility.add_finalizer, mandate)
    obj = await kube.get(BTP_OPERATORS, ref.name, ref.namespace)
    assert obj["metadata"]["finalizers"] == ["example.com/theirs", FINALIZER]
    await kube.delete(BTP_OPERATORS, ref.name, ref.namespace)
    for _ in range(2):
        assert not await deprovision(steps.responsibility.remove_finalizer, letting_go(mandate))
    obj = await kube.get(BTP_OPERATORS, ref.name, ref.namespace)
    assert obj["metadata"]["finalizers"] == ["example.com/theirs"]


async def test_a_spare_that_is_responsible_when_it_would_be_let_go_keeps_our_finalizer(
    steps: Steps, kube: Kube, person: Person
) -> None:
    """The one before it was made to go by hand, while no worker was there to do what had been decided."""
    older = person.create_operator("older")["metadata"]
    await asyncio.sleep(1.1)  # times are whole seconds
    spare = Operator.from_object(person.create_operator("spare")).ref
    for name in ("older", "spare"):
        await kube.merge(BTP_OPERATORS, name, KYMA_NAMESPACE, {"metadata": {"finalizers": [FINALIZER]}})
    mandate = await mandate_for(kube, spare)
    seen = await provision(steps.responsibility.assess_operator, mandate)
    assert seen.standing is Standing.SPARE and seen.claimed
    await kube.merge(BTP_OPERATORS, "older", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})
    await kube.delete(BTP_OPERATORS, "older", KYMA_NAMESPACE, uid=older["uid"])
    assert await provision(steps.responsibility.remove_finalizer, letting_go(mandate, as_spare=True))
    obj = await kube.get(BTP_OPERATORS, spare.name, spare.namespace)
    assert obj["metadata"]["finalizers"] == [FINALIZER]


async def test_a_deleted_spare_that_is_responsible_when_it_would_be_let_go_keeps_our_finalizer(
    steps: Steps, kube: Kube, person: Person
) -> None:
    """Both are being deleted, and a person takes the finalizer off the one that would have taken the operand along."""
    older = Operator.from_object(person.create_operator("older")).ref
    await asyncio.sleep(1.1)  # times are whole seconds
    spare = Operator.from_object(person.create_operator("spare")).ref
    for name in ("older", "spare"):
        await kube.merge(BTP_OPERATORS, name, KYMA_NAMESPACE, {"metadata": {"finalizers": [FINALIZER]}})
        await kube.delete(BTP_OPERATORS, name, KYMA_NAMESPACE)
    mandate = await mandate_for(kube, spare)
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).kind is ReleaseKind.LET_GO
    await kube.merge(BTP_OPERATORS, older.name, KYMA_NAMESPACE, {"metadata": {"finalizers": None}})
    assert await kube.find(BTP_OPERATORS, older.name, KYMA_NAMESPACE) is None
    assert await deprovision(steps.responsibility.remove_finalizer, letting_go(mandate, as_spare=True))
    assert (await kube.get(BTP_OPERATORS, spare.name, KYMA_NAMESPACE))["metadata"]["finalizers"] == [FINALIZER]
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).kind is ReleaseKind.DEPROVISION


async def test_a_deleted_cr_without_our_finalizer_is_let_go_once(steps: Steps, kube: Kube, ref: OperatorRef) -> None:
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": ["example.com/theirs"]}})
    await kube.delete(BTP_OPERATORS, ref.name, ref.namespace)
    mandate = await mandate_for(kube, ref)
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).kind is ReleaseKind.LET_GO
    assert not await deprovision(steps.responsibility.remove_finalizer, letting_go(mandate, as_spare=True))


async def test_our_finalizer_goes_however_often_it_stands_there(steps: Steps, kube: Kube, ref: OperatorRef) -> None:
    many = [FINALIZER, "example.com/theirs", FINALIZER]
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": many}})
    await kube.delete(BTP_OPERATORS, ref.name, ref.namespace)
    assert (await kube.get(BTP_OPERATORS, ref.name, ref.namespace))["metadata"]["finalizers"] == many
    await deprovision(steps.responsibility.remove_finalizer, letting_go(await mandate_for(kube, ref)))
    obj = await kube.get(BTP_OPERATORS, ref.name, ref.namespace)
    assert obj["metadata"]["finalizers"] == ["example.com/theirs"]


async def test_a_status_is_written_once_and_an_event_tells_of_it(steps: Steps, kube: Kube, ref: OperatorRef) -> None:
    finding = Finding(reason=Reason.MISSING_SECRET, message="make one")
    wanted = StatusInput(mandate=await mandate_for(kube, ref), finding=finding)
    assert await provision(steps.status.set_status, wanted)
    assert not await provision(steps.status.set_status, wanted)
    obj = await kube.get(BTP_OPERATORS, ref.name, ref.namespace)
    assert obj["status"]["state"] == "Error" and ready_condition(obj["status"])["message"] == "make one"
    events = [event for event in (await kube.list(EVENTS, KYMA_NAMESPACE)).items if event["reason"] == "MissingSecret"]
    assert [event["type"] for event in events] == ["Warning"]
    assert events[0]["involvedObject"]["uid"] == ref.uid


async def test_what_people_asked_of_a_deletion_stands_on_the_cr_and_is_read_again(
    steps: Steps, kube: Kube, ref: OperatorRef
) -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    record = DeletionRecord(began=now, hard_delete_ends=now + timedelta(minutes=20))
    record.take(ExtendRequest(minutes=30, by="alice", why="w" * 500), now)
    record.take(HoldRequest(by="b" * 200, why="a ticket"), now)
    record.take(ResumeRequest(by="carol"), now + timedelta(minutes=1))
    finding = Finding(reason=Reason.HARD_DELETING, message="1 ServiceInstance left")
    mandate = await mandate_for(kube, ref)
    assert await provision(steps.status.set_status, StatusInput(mandate=mandate, finding=finding, deletion=record))
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": [FINALIZER]}})
    await kube.delete(BTP_OPERATORS, ref.name, ref.namespace)
    assert (await deprovision(steps.responsibility.assess_deletion, mandate)).record == record


async def test_the_status_of_a_cr_that_is_gone_or_made_again_is_left_alone(
    steps: Steps, kube: Kube, ref: OperatorRef
) -> None:
    other = await mandate_for(kube, ref.model_copy(update={"uid": "another-life"}))
    said = StatusInput(mandate=other, finding=Finding(reason=Reason.INITIALIZED))
    assert not await provision(steps.status.set_status, said)
    assert "status" not in await kube.get(BTP_OPERATORS, ref.name, ref.namespace)


async def test_a_change_of_state_whose_answer_is_lost_still_has_its_one_event(
    control_plane: ControlPlane, shipped: Shipped, kube: Kube, ref: OperatorRef
) -> None:
    with FaultProxy(control_plane) as proxy:
        lossy = await connected(shipped.kubeconfig("worker", proxy.url))
        lost = proxy.add(Fault(methods=("PATCH",), path="/status", lose_answer=True, times=1))
        input = StatusInput(
            mandate=await mandate_for(kube, ref), finding=Finding(reason=Reason.MISSING_SECRET, message="not there")
        )
        try:
            with pytest.raises(Exception, match="409"):
                await provision(StatusActivities(lossy).set_status, input)
            assert lost.hits == 1
            await provision(StatusActivities(lossy).set_status, input)
        finally:
            await lossy.close()
    reasons = [event["reason"] for event in (await kube.list(EVENTS, KYMA_NAMESPACE)).items]
    assert reasons.count("MissingSecret") == 1
