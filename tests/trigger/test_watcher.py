"""The watcher against a real API server, with a list in place of Temporal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.service import RPCError, RPCStatusCode

from activities.chart import ChartActivities
from activities.responsibility import ResponsibilityActivities
from activities.status import StatusActivities
from kube.client import Kube
from kube.reflector import Reflector, Source
from kube.resources import BTP_OPERATORS, CONFIG_MAPS, DEPLOYMENTS, PRIORITY_CLASSES, SECRETS, SERVICES
from localcluster.client import CREDENTIALS, Person
from models.conditions import Reason
from models.deprovision import AbandonedObject
from models.mandate import Mandate, Purpose
from models.names import (
    ABANDONED_CONFIGMAP,
    CREDENTIALS_SECRET,
    KYMA_NAMESPACE,
    OPERAND_DEPLOYMENT,
    OPERAND_WEBHOOK_SERVICE,
    RECLAIM_PENDING_ANNOTATION,
)
from models.operators import Operator, OperatorRef
from models.provision import ChartInput
from models.status import Finding, StatusInput
from operand.abandoned_report import AbandonedReport
from operand.mandated import MandatedKube
from operand.rendering import ChartRenderer
from tests.acting import mandate_for, provision, refuse_administrators
from tests.conftest import Eventually
from trigger.nudges import Nudges
from trigger.watcher import DEAD_AFTER, Watcher


class Observed:
    """A running watcher and the nudges it sent.

    That nothing more comes is not proved by sleeping: the version of each object that a watch brought is noted, and
    what happened so far has been seen when those are the versions that the API server has.
    """

    def __init__(self, kube: Kube, trigger: Kube) -> None:
        refuse_administrators(trigger)
        self._kube = kube
        self.refs: list[tuple[str, bool | None]] = []
        self.down = False
        self.nudges = Nudges(self._deliver)
        self.watcher = Watcher(trigger, self.nudges)
        self._versions = [self._noted(reflector) for reflector in self._reflectors()]

    async def _deliver(self, ref: OperatorRef) -> None:
        if self.down:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        self.refs.append((ref.name, self.watcher.deleting(ref)))

    async def settle(self) -> None:
        """Wait until all that happened so far was seen, and forget what came."""
        await self.see_all()
        self.refs.clear()

    async def said(self, *expected: tuple[str, bool | None]) -> None:
        """What was nudged since `settle`, when all that happened so far was seen."""
        async with asyncio.timeout(10):
            while not set(expected) <= set(self.refs):
                await asyncio.sleep(0.02)
        await self.see_all()
        assert set(self.refs) == set(expected)

    async def see_all(self) -> None:
        """Wait until every watch has brought what the API server has now, and every nudge has left."""
        await self.see_events()
        async with asyncio.timeout(10):
            while self.nudges._due:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)  # those that have just left arrive

    async def see_events(self) -> None:
        """The same, while nudges cannot leave."""
        async with asyncio.timeout(20):
            for reflector, versions in zip(self._reflectors(), self._versions, strict=True):
                while await self._live(reflector.source) != {key: versions[key] for key in reflector.known}:
                    await asyncio.sleep(0.02)

    def _reflectors(self) -> list[Reflector]:
        return [self.watcher._operators, *self.watcher._others]

    @staticmethod
    def _noted(reflector: Reflector) -> dict[tuple[str, str], str]:
        versions: dict[tuple[str, str], str] = {}
        digest = reflector.source.digest

        def noting(obj: Mapping[str, Any]) -> Any:
            versions[key_of(obj)] = obj["metadata"]["resourceVersion"]
            return digest(obj)

        reflector.source = replace(reflector.source, digest=noting)
        return versions

    async def _live(self, source: Source) -> dict[tuple[str, str], str]:
        listed = await self._kube.list(
            source.resource, source.namespace, labels=source.labels, fields=source.fields, metadata_only=True
        )
        return {key_of(obj): obj["metadata"]["resourceVersion"] for obj in listed.items}


def key_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


async def test_a_watch_that_heard_nothing_for_long_asks_for_a_restart_unless_the_server_is_away_or_refuses(
    trigger: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deliver(_: OperatorRef) -> None:
        pass

    watcher, now = Watcher(trigger, Nudges(deliver)), 10_000.0
    monkeypatch.setattr("trigger.watcher.time.monotonic", lambda: now)
    followed = [watcher._operators, *watcher._others]
    for reflector in followed:
        reflector.heard, reflector.trouble = now, ""
    now += DEAD_AFTER
    assert not watcher.silent()
    now += 1
    for reflector in followed[1:]:
        reflector.heard = now
    assert watcher.silent() == "nothing heard of BtpOperator"
    watcher._operators.trouble = "connection refused"
    assert not watcher.silent()
    monkeypatch.undo()


@pytest.fixture
async def observed(kube: Kube, trigger: Kube) -> AsyncIterator[Observed]:
    watch = Observed(kube, trigger)
    tasks = [asyncio.create_task(watch.watcher.run()), asyncio.create_task(watch.nudges.run())]
    while watch.watcher.unsynced():
        await asyncio.sleep(0.02)
    await watch.settle()
    yield watch
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_new_a_changed_and_a_deleted_cr_are_each_named(observed: Observed, kube: Kube, person: Person) -> None:
    person.create_operator("one")
    await observed.said(("one", False))
    await observed.settle()
    await kube.merge(BTP_OPERATORS, "one", KYMA_NAMESPACE, {"metadata": {"labels": {"force-delete": "true"}}})
    await observed.said(("one", False))
    await kube.merge(BTP_OPERATORS, "one", KYMA_NAMESPACE, {"metadata": {"finalizers": ["example.com/held"]}})
    await observed.settle()
    person.delete_operator("one")
    await observed.said(("one", True))


async def test_when_a_cr_is_gone_its_run_and_the_oldest_that_is_left_are_named_and_no_other(
    observed: Observed, person: Person
) -> None:
    for name in ("one", "three", "two"):
        person.create_operator(name)
    await observed.settle()
    person.delete_operator("one")
    await observed.said(("one", None), ("three", False))


async def test_a_start_wakes_no_spare_that_says_for_whom_it_waits(
    kube: Kube, worker: Kube, trigger: Kube, person: Person
) -> None:
    refs = [Operator.from_object(person.create_operator(name)).ref for name in ("a", "b", "c", "d")]
    for ref in refs[1:3]:
        mandate = await mandate_for(kube, ref)
        assessment = await provision(ResponsibilityActivities(worker).assess_operator, mandate)
        assert assessment.finding
        said = StatusInput(mandate=mandate, finding=assessment.finding)
        await provision(StatusActivities(worker).set_status, said)
    watch = Observed(kube, trigger)
    tasks = [asyncio.create_task(watch.watcher.run()), asyncio.create_task(watch.nudges.run())]
    try:
        while watch.watcher.unsynced():
            await asyncio.sleep(0.02)
        await watch.said(("a", False), ("d", False))  # nobody has looked at d yet
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_metrics_show_the_state_of_a_cr_and_the_number_of_abandoned_objects(
    observed: Observed, kube: Kube, worker: Kube, ref: OperatorRef, eventually: Eventually
) -> None:
    registry = CollectorRegistry()
    registry.register(observed.watcher.metrics())

    def states() -> dict[tuple[str, str], float]:
        (family,) = [family for family in registry.collect() if family.name == "btp_operator_state"]
        return {(sample.labels["state"], sample.labels["reason"]): sample.value for sample in family.samples}

    async def shows(state: str, reason: str) -> bool:
        return states() == {(state, reason): 1.0}

    await eventually(lambda: shows("Unknown", "Unknown"))
    mandate = await mandate_for(kube, ref)
    await provision(ResponsibilityActivities(worker).add_finalizer, mandate)
    for reason in (Reason.INITIALIZED, Reason.RECONCILE_SUCCEEDED):
        said = StatusInput(mandate=mandate, finding=Finding(reason=reason))
        await provision(StatusActivities(worker).set_status, said)
    await eventually(lambda: shows("Ready", "ReconcileSucceeded"))
    status = {"state": "Ready", "conditions": [{"type": "Ready", "status": "True", "reason": "Theirs", "message": "m"}]}
    status["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z"  # type: ignore[index]
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"status": status}, subresource="status")
    await eventually(lambda: shows("Ready", "Unknown"))

    def abandoned() -> float | None:
        return registry.get_sample_value("btp_abandoned_objects")

    assert abandoned() == 0
    report = AbandonedReport(worker, MandatedKube(worker, mandate, Purpose.PROVISION), ref)
    objects = [AbandonedObject(kind="ServiceInstance", namespace="n", name=f"i{number}") for number in range(3)]
    await report.add([(each.name, each) for each in objects])

    async def three() -> bool:
        return abandoned() == 3

    async def two_pending() -> bool:
        return registry.get_sample_value("btp_reclaim_pending_objects") == 2

    await eventually(three)
    assert registry.get_sample_value("btp_reclaim_pending_objects") == 0
    noted = {"metadata": {"annotations": {RECLAIM_PENDING_ANNOTATION: "2"}}}
    await kube.merge(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE, noted)
    await eventually(two_pending)
    await kube.delete(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE)

    async def none() -> bool:
        return abandoned() == 0

    await eventually(none)
    await observed.see_all()
    assert set(observed.refs) <= {(ref.name, False)}


async def test_our_own_writes_on_a_cr_wake_nobody(observed: Observed, worker: Kube, ref: OperatorRef) -> None:
    await observed.settle()
    mandate = await mandate_for(worker, ref)
    await provision(ResponsibilityActivities(worker).add_finalizer, mandate)
    for reason in (Reason.INITIALIZED, Reason.RECONCILE_SUCCEEDED):
        said = StatusInput(mandate=mandate, finding=Finding(reason=reason))
        await provision(StatusActivities(worker).set_status, said)
    await observed.see_all()
    assert observed.refs == []


async def test_a_cr_whose_finalizer_somebody_removes_is_looked_at_again(
    observed: Observed, kube: Kube, worker: Kube, ref: OperatorRef
) -> None:
    """Without it nothing keeps the CR until the operand is gone; a run that waits may not see it by itself."""
    await provision(ResponsibilityActivities(worker).add_finalizer, await mandate_for(worker, ref))
    await observed.settle()
    await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, {"metadata": {"finalizers": None}})
    await observed.said(("btpoperator", False))


async def test_every_prerequisite_that_appears_changes_or_goes_wakes_the_responsible_cr(
    observed: Observed, kube: Kube, person: Person, ref: OperatorRef
) -> None:
    person.create_operator("z-spare")
    await observed.settle()
    person.put_secret(CREDENTIALS)
    await observed.said(("btpoperator", False))
    await observed.settle()
    await kube.delete(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
    await observed.said(("btpoperator", False))
    await observed.settle()
    person.put_secret(CREDENTIALS, name="another")
    await kube.delete(SECRETS, "another", KYMA_NAMESPACE)
    await observed.see_all()
    assert observed.refs == []
    await kube.delete(PRIORITY_CLASSES, "kyma-system")
    await observed.said(("btpoperator", False))


async def test_applying_the_chart_wakes_nobody_but_drift_in_it_does(
    observed: Observed,
    kube: Kube,
    worker: Kube,
    renderer: ChartRenderer,
    mandate: Mandate,
    credentials: dict[str, str],
    eventually: Eventually,
) -> None:
    chart = ChartActivities(worker, renderer)
    await provision(chart.apply_chart, ChartInput(mandate=mandate))

    async def available() -> bool:
        status = (await kube.get(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)).get("status") or {}
        return bool(status.get("availableReplicas"))

    await eventually(available)
    await observed.settle()
    await provision(chart.apply_chart, ChartInput(mandate=mandate))
    await asyncio.sleep(1)  # managedFields tell seconds apart, no less
    theirs = {"metadata": {"annotations": {"example.com/theirs": "1"}}}
    await kube.merge(SERVICES, OPERAND_WEBHOOK_SERVICE, KYMA_NAMESPACE, theirs)
    await observed.see_all()
    assert observed.refs == []

    await kube.delete(SERVICES, OPERAND_WEBHOOK_SERVICE, KYMA_NAMESPACE)
    await observed.said(("btpoperator", False))
    await observed.settle()
    config = "sap-btp-operator-config"
    await kube.json_patch(CONFIG_MAPS, config, KYMA_NAMESPACE, [{"op": "remove", "path": "/data/CLUSTER_ID"}])
    await observed.said(("btpoperator", False))
    await observed.settle()
    await kube.merge(
        DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE, {"status": {"availableReplicas": 0}}, subresource="status"
    )
    await kube.merge(
        DEPLOYMENTS,
        OPERAND_DEPLOYMENT,
        KYMA_NAMESPACE,
        {
            "spec": {
                "template": {"spec": {"nodeSelector": {"no": "such-node"}}},
                "strategy": {"type": "Recreate", "rollingUpdate": None},
            }
        },
    )
    await observed.said(("btpoperator", False))


async def test_nudges_are_kept_while_temporal_is_away_and_delivered_once_after(
    observed: Observed, person: Person
) -> None:
    observed.down = True
    person.create_operator("one")
    while not observed.nudges.trouble:
        await asyncio.sleep(0.02)
    person.put_secret(CREDENTIALS)
    await observed.see_events()
    observed.down = False
    await observed.said(("one", False))
    assert observed.refs == [("one", False)] and observed.nudges.trouble == ""


async def test_a_burst_of_changes_becomes_few_nudges(observed: Observed, kube: Kube, ref: OperatorRef) -> None:
    await observed.settle()
    for number in range(100):
        label = {"metadata": {"labels": {"n": str(number)}}}
        await kube.merge(BTP_OPERATORS, ref.name, ref.namespace, label)
    await observed.see_all()
    assert 1 <= len(observed.refs) < 20
