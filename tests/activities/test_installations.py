"""While workers of two versions run, the newer installation's chart holds. On a real Deployment controller."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from kube.client import Kube
from kube.resources import CONFIG_MAPS, DEPLOYMENTS
from localcluster.client import Person
from localcluster.shipped import RELEASE, Shipped
from models.mandate import Mandate
from models.names import INSTALLATION_ANNOTATION, KYMA_NAMESPACE, OPERAND_CONFIG, OPERAND_DEPLOYMENT, SUPERSEDED
from operand.installation import REVISION, Installation
from operand.rendering import ChartRenderer
from tests.acting import administrator
from tests.activities.steps import Steps
from tests.activities.test_chart import writes_so_far
from tests.conftest import OPERAND_CHART

CHANGED = [f"ConfigMap {KYMA_NAMESPACE}/{OPERAND_CONFIG}", f"Deployment {KYMA_NAMESPACE}/{OPERAND_DEPLOYMENT}"]
"""What differs between the charts; the Deployment carries a digest of the ConfigMap."""


def chart(folder: Path, name: str) -> ChartRenderer:
    """The operand's chart with an entry of its own."""
    copy = folder / name
    shutil.copytree(OPERAND_CHART, copy)
    template = copy / "templates" / "configmap.yaml"
    template.write_text(f"{template.read_text().rstrip()}\n  CHART: {name}\n")
    return ChartRenderer(copy, rbac=False)


WORKER = f"{RELEASE}-worker"


@pytest.fixture(autouse=True)
def its_deployment(shipped: Shipped, person: Person) -> Iterator[None]:
    """The release's own is in nobody's way, and comes back with the next test that needs it."""
    person.delete(DEPLOYMENTS.path(KYMA_NAMESPACE, WORKER))
    yield
    shipped.remove()


class Rollout:
    """The worker's Deployment, as Helm would change it."""

    def __init__(self, kube: Kube, person: Person, name: str = WORKER) -> None:
        self._kube, self._person, self._name = kube, person, name

    def place(self, template: str) -> str:
        """What a worker of that template is told."""
        return f"{KYMA_NAMESPACE}/{self._name}/{template}"

    async def wants(self, template: str, revision: int) -> None:
        """Until its controller has counted the change."""
        labels = {"app": self._name}
        variable = {"name": "BTP_INSTALLATION", "value": self.place(template)}
        spec = {"containers": [{"name": "worker", "image": "worker", "env": [variable]}]}
        wanted = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": self._name, "namespace": KYMA_NAMESPACE},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
        await self._kube.apply(DEPLOYMENTS, wanted)
        async with asyncio.timeout(20):
            while await self._revision() != str(revision):
                await asyncio.sleep(0.05)

    async def _revision(self) -> Any:
        found = await self._kube.get(DEPLOYMENTS, self._name, KYMA_NAMESPACE)
        return (found["metadata"].get("annotations") or {}).get(REVISION)

    def remove(self) -> None:
        self._person.delete(DEPLOYMENTS.path(KYMA_NAMESPACE, self._name))


async def holds(kube: Kube) -> tuple[str, Installation | None]:
    """Whose chart is in the cluster, by its own entry and by what the object says."""
    found = await kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    return str(found["data"].get("CHART")), Installation.of(found)


async def is_refused(steps: Steps, mandate: Mandate, words: str) -> None:
    """Neither a survey nor an apply is this worker's, and nothing is written."""
    before = writes_so_far()
    for step in (steps.check_drift, steps.apply):
        with pytest.raises(ApplicationError, match=words) as refusal:
            await step(mandate)
        assert refusal.value.type == SUPERSEDED and not refusal.value.non_retryable
    assert writes_so_far() == before


async def test_the_deployment_says_whose_chart_holds_and_a_rollback_restores_the_older_one(
    kube: Kube, worker: Kube, person: Person, mandate: Mandate, credentials: dict[str, str], tmp_path: Path
) -> None:
    rollout = Rollout(kube, person)
    old = Steps(worker, chart(tmp_path, "old"), rollout.place("1a"))
    new = Steps(worker, chart(tmp_path, "new"), rollout.place("2b"))
    try:
        await rollout.wants("1a", 1)
        assert len((await old.apply(mandate)).written) == 14
        await is_refused(new, mandate, "asks for another version")
        await rollout.wants("2b", 2)
        await is_refused(old, mandate, "asks for another version")
        assert (await new.check_drift(mandate)).drifted == CHANGED
        assert (await new.apply(mandate)).written == CHANGED
        await is_refused(old, mandate, "asks for another version")
        assert (await new.check_drift(mandate)).drifted == []
        said, wrote = await holds(kube)
        assert said == "new" and wrote is not None and wrote.revision == 2
        await rollout.wants("1a", 3)
        await is_refused(new, mandate, "asks for another version")
        assert (await old.apply(mandate)).written == CHANGED
        assert (await holds(kube))[0] == "old"
        rollout.remove()
        await is_refused(old, mandate, "is gone")
    finally:
        rollout.remove()


async def test_of_two_deployments_the_later_one_holds_and_a_process_started_by_hand_never_does(
    kube: Kube, worker: Kube, person: Person, mandate: Mandate, credentials: dict[str, str], tmp_path: Path
) -> None:
    old, new = chart(tmp_path, "old"), chart(tmp_path, "new")
    first, second = Rollout(kube, person), Rollout(kube, person, "another-worker")
    try:
        await Steps(worker, old).apply(mandate)
        await first.wants("1a", 1)
        await Steps(worker, new, first.place("1a")).apply(mandate)
        assert (await holds(kube))[0] == "new"
        await is_refused(Steps(worker, old), mandate, "by a newer installation of the manager.*remove annotation")
        await asyncio.sleep(1)  # the API server counts whole seconds
        await second.wants("1a", 1)
        other = administrator(kube, "of another release: the one here may look at its own Deployment only")
        await Steps(other, old, second.place("1a")).apply(mandate)
        assert (await holds(kube))[0] == "old"
        await is_refused(Steps(worker, new, first.place("1a")), mandate, "by a newer installation")
    finally:
        first.remove()
        second.remove()


async def test_another_installation_of_the_same_chart_writes_nothing_and_takes_over_what_says_nothing(
    kube: Kube, worker: Kube, person: Person, mandate: Mandate, credentials: dict[str, str], renderer: ChartRenderer
) -> None:
    rollout = Rollout(kube, person)
    try:
        await rollout.wants("1a", 1)
        await Steps(worker, renderer, rollout.place("1a")).apply(mandate)
        await rollout.wants("2b", 2)
        later = Steps(worker, renderer, rollout.place("2b"))
        assert (await later.check_drift(mandate)).drifted == []
        nothing = {"metadata": {"annotations": {INSTALLATION_ANNOTATION: "somebody's words"}}}
        await kube.merge(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE, nothing)
        assert (await later.apply(mandate)).written == [f"ConfigMap {KYMA_NAMESPACE}/{OPERAND_CONFIG}"]
        assert (await holds(kube))[1] is not None
    finally:
        rollout.remove()


async def test_an_annotation_from_nowhere_is_named_and_once_it_is_removed_the_chart_is_applied(
    kube: Kube, worker: Kube, person: Person, mandate: Mandate, credentials: dict[str, str], renderer: ChartRenderer
) -> None:
    rollout = Rollout(kube, person)

    async def annotate(text: str | None) -> None:
        annotations = {"metadata": {"annotations": {INSTALLATION_ANNOTATION: text}}}
        await kube.merge(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE, annotations)

    try:
        await rollout.wants("1a", 1)
        steps = Steps(worker, renderer, rollout.place("1a"))
        await steps.apply(mandate)
        await annotate("9999-01-01T00:00:00Z revision 1, chart x")
        await is_refused(steps, mandate, f"ConfigMap {OPERAND_CONFIG}.*remove annotation {INSTALLATION_ANNOTATION}")
        await annotate(None)
        await steps.apply(mandate)
        assert (await steps.check_drift(mandate)).drifted == []
    finally:
        rollout.remove()
