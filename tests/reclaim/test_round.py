"""How a round goes: in which order, how fast, what it meets, and what the report says of it."""

import asyncio
import contextlib
import json

import pytest

from activities.reclaim import RECLAIMED
from kube.resources import CONFIG_MAPS
from localcluster.misbehaviour import Fault, bad_gateway, lost_answer, throttled, unknown_route
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE
from models.reclaim import Outcome
from operand.reclaim_report import ReclaimReport
from operand.service_manager import ServiceManager
from tests.reclaim.conftest import Stage

NOBODY = "00000000-0000-4000-8000-000000000000"


async def test_bindings_go_then_instances_then_the_report(stage: Stage) -> None:
    lines = []
    for number in range(12):
        instance = stage.abandon("ServiceInstance", f"i{number}")
        lines += [instance, stage.abandon("ServiceBinding", f"b{number}", instance=instance["sap_id"])]
    await stage.report(*lines[:10])
    await stage.report(*lines[10:], part=2)
    done = await stage.round()
    assert done.counts == {Outcome.RECLAIMED: 24} and done.to_try_again == 0 and done.told == []
    assert (stage.sap.instances, stage.sap.bindings, stage.sap.refusals_for_bindings) == ({}, {}, 0)
    assert await stage.lines() is None
    assert await stage.kube.find(CONFIG_MAPS, f"{ABANDONED_CONFIGMAP}-2", KYMA_NAMESPACE) is None
    assert "deleted in SAP BTP" in (await stage.events())["ReclaimReclaimed"]
    assert set(stage.sap.callers) == {"admin"}


async def test_a_report_that_a_dead_worker_has_emptied_is_removed(stage: Stage) -> None:
    await stage.report()
    emptied = {"data": {"total": "8"}}
    await stage.kube.merge(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE, emptied)
    assert (await stage.round()).counts == {}
    assert await stage.lines() is None


async def test_deletions_that_sap_does_later_are_polled_until_they_are_done_or_have_failed(stage: Stage) -> None:
    stage.sap.asynchronous = 0.3
    instance = stage.abandon("ServiceInstance", "i")
    stubborn = stage.abandon("ServiceInstance", "stubborn")
    stage.sap.refused.add("stubborn")
    await stage.report(instance, stubborn, stage.abandon("ServiceBinding", "b", instance=instance["sap_id"]))
    done = await stage.round()
    assert done.counts == {Outcome.RECLAIMED: 2, Outcome.REFUSED: 1} and done.to_try_again == 1
    assert list(stage.sap.instances) == [stubborn["sap_id"]]
    assert await stage.why() == {"stubborn": "refused: the broker refuses: there are active subscriptions"}
    assert stage.sap.calls["DELETE", "service_instances", instance["sap_id"]] == 1


async def test_a_deletion_that_takes_longer_than_a_round_is_not_asked_for_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operand.reclaim.SETTLE", 0.0)
    stage.sap.asynchronous = 1.0
    instance = stage.abandon("ServiceInstance", "i")
    binding = stage.abandon("ServiceBinding", "b", instance=instance["sap_id"])
    await stage.report(instance, binding)
    assert (await stage.round()).counts == {Outcome.UNDER_WAY: 1, Outcome.WAITING: 1}
    assert await stage.why() == {"i": "waiting: its ServiceBinding team-a/b has to go first", "b": "under way"}
    assert (await stage.round()).counts == {Outcome.UNDER_WAY: 1, Outcome.WAITING: 1}
    assert stage.sap.calls["DELETE", "service_bindings", binding["sap_id"]] == 1
    assert stage.sap.calls["DELETE", "service_instances", instance["sap_id"]] == 0
    await asyncio.sleep(1.2)
    stage.sap.asynchronous = 0.0
    assert (await stage.round()).counts == {Outcome.ABSENT: 1, Outcome.RECLAIMED: 1}
    assert await stage.lines() is None


async def test_a_deletion_under_way_is_waited_for_though_a_namesake_lives_in_the_cluster(stage: Stage) -> None:
    """Asked for by a worker that died then; a user has made an object of that name again, which is another in SAP."""
    stage.sap.asynchronous = 0.5
    line = stage.abandon("ServiceInstance", "again")
    being_deleted = {"type": "delete", "state": "in progress"}
    stage.sap.instances[line["sap_id"]]["last_operation"] = being_deleted
    await stage.live("ServiceInstance", "again", stage.sap.put("service_instances", "team-a", "again"))
    await stage.report(line)

    async def done_after_a_look() -> None:
        while not stage.sap.calls["GET", "service_instances", line["sap_id"]]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        del stage.sap.instances[line["sap_id"]]

    done, _ = await asyncio.gather(stage.round(), done_after_a_look())
    assert done.counts == {Outcome.RECLAIMED: 1}
    assert stage.sap.deleted() == set() and await stage.lines() is None


async def test_a_few_objects_are_deleted_side_by_side_and_never_more(stage: Stage) -> None:
    await stage.report(*(stage.abandon("ServiceInstance", f"i{number:02}") for number in range(20)))
    stage.sap.latency = 0.2
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 20}
    assert stage.sap.side_by_side["service_instances"] == 8


async def test_a_metric_counts_each_outcome(stage: Stage) -> None:
    def counted() -> dict[str, float]:
        samples = [sample for metric in RECLAIMED.collect() for sample in metric.samples]
        return {
            sample.labels["outcome"]: sample.value
            for sample in samples
            if sample.name == "btp_reclaim_total" and sample.labels["kind"] == "ServiceInstance"
        }

    before = counted()
    stage.sap.refused.add("refused")
    in_use = stage.abandon("ServiceInstance", "in-use")
    await stage.live("ServiceInstance", "in-use", in_use["sap_id"])
    await stage.report(
        in_use,
        stage.abandon("ServiceInstance", "reclaimed"),
        stage.abandon("ServiceInstance", "absent", sap_id=NOBODY),
        stage.abandon("ServiceInstance", "protected", protected=True),
        stage.abandon("ServiceInstance", "edited", sap_id="../edited"),
        stage.abandon("ServiceInstance", "refused"),
    )
    await stage.round()
    grown = {outcome for outcome, value in counted().items() if value == before.get(outcome, 0.0) + 1}
    assert grown == {"in use", "reclaimed", "absent", "protected", "not ours", "waiting"}
    events = await stage.events()
    assert events.keys() >= {"ReclaimInUse", "ReclaimReclaimed", "ReclaimAbsent", "ReclaimProtected", "ReclaimNotOurs"}


async def test_to_show_what_would_go_touches_nothing(stage: Stage) -> None:
    lines = [stage.abandon("ServiceInstance", "i"), stage.abandon("ServiceInstance", "p", protected=True)]
    lines.append(stage.abandon("ServiceBinding", "b", instance=lines[0]["sap_id"]))
    await stage.report(*lines)
    done = await stage.round(ref=None, only_show=True)
    assert {told.name: told.outcome for told in done.told} == {
        **{"i": Outcome.WOULD_GO, "b": Outcome.WOULD_GO},
        "p": Outcome.PROTECTED,
    }
    assert stage.sap.deleted() == set() and await stage.lines() == lines and await stage.events() == {}


async def test_refusals_are_kept_with_their_words_and_the_rest_goes(stage: Stage) -> None:
    shared, busy, bound = (stage.abandon("ServiceInstance", name) for name in ("shared", "busy", "bound"))
    stage.sap.put("service_instances", "team-b", "reference", referenced_instance_id=shared["sap_id"])
    stage.sap.put("service_bindings", "team-b", "made-by-hand", service_instance_id=bound["sap_id"])
    stage.sap.busy.add("busy")
    await stage.report(shared, busy, bound, stage.abandon("ServiceInstance", "free"))
    done = await stage.round()
    assert done.counts == {Outcome.REFUSED: 3, Outcome.RECLAIMED: 1} and done.to_try_again == 3
    why = await stage.why()
    assert "other instances reference it (400)" in why["shared"] and "1 existing bindings (400)" in why["bound"]
    assert "operation in progress" in why["busy"]
    stage.sap.busy.clear()
    assert (await stage.round()).counts == {Outcome.REFUSED: 2, Outcome.RECLAIMED: 1}


async def test_who_asks_to_be_left_alone_is_left_alone(stage: Stage) -> None:
    lines = [stage.abandon("ServiceInstance", f"i{number:02}") for number in range(30)]
    await stage.report(*lines)
    stage.sap.faults = [throttled("17", "DELETE", times=100)]
    done = await stage.round()
    assert done.retry_after == 17 and done.to_try_again == 30 and not done.unfinished
    assert sum(times for call, times in stage.sap.calls.items() if call[0] == "DELETE") <= 8
    assert len(await stage.lines() or []) == 30


@pytest.mark.parametrize("fault", [bad_gateway, unknown_route], ids=["502", "unknown_route"])
async def test_a_service_manager_that_is_away_is_not_asked_on_and_on_and_nothing_is_struck_out(
    stage: Stage, fault: object
) -> None:
    assert callable(fault)
    await stage.report(*(stage.abandon("ServiceInstance", f"i{number:02}") for number in range(30)))
    stage.sap.faults = [fault(path="/v1/", times=1000)]
    done = await stage.round()
    assert done.counts == {Outcome.WAITING: 30} and done.told[0].why
    assert sum(times for call, times in stage.sap.calls.items() if call[1] != "token") <= 8
    stage.sap.faults = []
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 30}


async def test_a_line_that_a_soft_delete_adds_meanwhile_is_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    line = stage.abandon("ServiceInstance", "first")
    added = stage.abandon("ServiceInstance", "added", cr="another")
    await stage.report(line)
    delete = ServiceManager.delete

    async def meanwhile(self: ServiceManager, *arguments: object) -> str | None:
        await stage.report(line, added)
        return await delete(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ServiceManager, "delete", meanwhile)
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 1}
    assert await stage.lines() == [added]


@pytest.mark.parametrize(
    "asynchronous", [pytest.param(0.0, id="at once"), pytest.param(0.1, id="later", marks=pytest.mark.long)]
)
async def test_killed_or_unheard_at_any_call_nothing_else_is_deleted_and_nothing_is_forgotten(
    stage: Stage, asynchronous: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each call in turn the answer is lost, and the process dies with it; a later round finishes."""
    monkeypatch.setattr("operand.reclaim.AT_ONCE", 2)
    monkeypatch.setattr("operand.reclaim_outcomes.STORE_EVERY", 0.0)
    calls = 0
    for number in range(100):
        stage.sap.forget()
        stage.sap.asynchronous = asynchronous
        instances = [stage.abandon("ServiceInstance", f"i{each}") for each in range(3)]
        lines = [
            *instances,
            *(stage.abandon("ServiceBinding", f"b{i}", instance=instances[i]["sap_id"]) for i in (0, 1)),
        ]
        bystanders = {stage.sap.put("service_instances", "team-a", "i0", "another-cluster")}
        bystanders.add(stage.sap.put("service_instances", "team-b", "i0"))
        await stage.report(*lines)
        dies = _DiesAt(number)
        with monkeypatch.context() as patched:
            patched.setattr(ServiceManager, "_send", dies.wrap(ServiceManager._send))
            patched.setattr(ReclaimReport, "store", dies.wrap(ReclaimReport.store, counts=False))
            stage.sap.faults = [Fault(times=number), lost_answer()]
            with contextlib.suppress(_Killed):
                await stage.round()
        calls = number
        if not dies.died:
            break
        reported = {line["sap_id"] for line in await stage.lines() or []}
        left = {*stage.sap.instances, *stage.sap.bindings} - bystanders
        assert left <= reported, f"after call {number} something is left that nobody reports"
        stage.sap.faults = []
        for _ in range(10):
            if await stage.lines() is None:
                break
            await stage.round()
        assert await stage.lines() is None
        assert set(stage.sap.instances) == bystanders and stage.sap.bindings == {}
        assert stage.sap.deleted() <= {line["sap_id"] for line in lines}
    assert 10 < calls < 99


class _Killed(BaseException):
    """The process is gone: no `except Exception` sees it."""


class _DiesAt:
    """The process dies when the call of this number was sent and is unheard."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.died = False

    def wrap(self, send: object, counts: bool = True) -> object:
        async def dying(*arguments: object, **options: object) -> object:
            assert callable(send)
            dies, self._left = counts and self._left == 0, self._left - int(counts)
            if self.died:
                raise _Killed
            try:
                answer = await send(*arguments, **options)
            except Exception:
                if not dies:
                    raise
                answer = None
            if dies:
                self.died = True
                raise _Killed
            return answer

        return dying


async def test_a_cancelled_round_leaves_a_true_report(stage: Stage) -> None:
    lines = [stage.abandon("ServiceInstance", f"i{number:02}") for number in range(24)]
    await stage.report(*lines)
    stage.sap.latency = 0.2
    running = asyncio.create_task(stage.round())
    while len(stage.sap.instances) == 24:
        await asyncio.sleep(0.02)
    stage.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    reported = {line["sap_id"] for line in await stage.lines() or []}
    assert 0 < len(reported) < 24 and set(stage.sap.instances) <= reported


async def test_neither_report_nor_events_nor_results_have_a_value_of_the_secrets(stage: Stage) -> None:
    secrets = [*stage.sap.admin_credentials().values(), *stage.sap.credentials().values()]
    quoted = {"description": f"bad client {' '.join(stage.sap.admin_credentials().values())}"}
    await stage.report(stage.abandon("ServiceInstance", "i"), stage.abandon("ServiceInstance", "j"))
    stage.sap.faults = [Fault("DELETE", status=400, body=quoted)]
    done = await stage.round()
    seen = done.model_dump_json() + json.dumps([await stage.lines(), await stage.events()])
    assert "bad client" in seen
    assert [secret for secret in secrets if secret in seen and not secret.startswith("http")] == []
