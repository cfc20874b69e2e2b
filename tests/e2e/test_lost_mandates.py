"""However a CR stops asking for what is done for it, and wherever its run stands: the run ends soon, and does no more.

How soon is told by Temporal's history: from the moment before the CR was changed until the run's last event. The
trigger is frozen meanwhile, so the run has to notice by itself.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from kube.resources import BTP_OPERATORS, CONFIG_MAPS
from localcluster.environment import Environment
from localcluster.servicemanager import ServiceManager
from models.deprovision import DeprovisionResult, ReleaseKind
from models.names import KYMA_NAMESPACE, OPERAND_CONFIG
from models.provision import ProvisionOutcome, ProvisionResult
from tests.e2e.deletion import Scene
from tests.e2e.lost_mandates import (
    LOSSES,
    OPERATOR,
    PHASES,
    THEIRS,
    Loss,
    Phase,
    Run,
    Stalls,
    between_attempts_of_applying,
    between_attempts_of_soft_delete,
    connect,
    finalizer_stripped_of_a_cr_that_others_keep,
    finalizers,
    freeze,
    in_hard_delete,
    in_the_wait_for_readiness,
    thaw,
)
from workflows.deprovision import DeprovisionWorkflow

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]

SOON: Final = timedelta(seconds=5)
BUDGETS: Final = {
    "BTP_HARD_DELETE_TIMEOUT": "5m",
    "BTP_READY_TIMEOUT": "5m",
    "BTP_DELETE_REQUEST_TIMEOUT": "5m",
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with ServiceManager() as sap, Environment(BUDGETS, faults=True) as environment:
        yield Scene(environment, sap)


@pytest.fixture(autouse=True)
async def nothing_left(scene: Scene) -> AsyncIterator[None]:
    """Every story begins with no CR, no operand and no service object."""
    yield
    environment, person = scene.environment, scene.person
    environment.proxy.clear()
    environment.cluster.start_node()
    thaw(scene)
    if scene.operand is not None and not scene.operand.alive:
        scene.operand = environment.start_operand()
    crs = [BTP_OPERATORS.path(KYMA_NAMESPACE, name) for name in ("btpoperator", "older")]
    for path in (*crs, CONFIG_MAPS.path(KYMA_NAMESPACE, OPERAND_CONFIG)):
        if found := person.get(path):
            finalizers(scene, path, [name for name in found["metadata"].get("finalizers") or [] if name != THEIRS])
    scene.until(lambda: not any(map(person.get, crs)) or is_ready(scene), "the CR to be gone, or taken care of", 90)
    if not any(map(person.get, crs)):
        person.create_operator("btpoperator")  # takes over what is left
        scene.until(lambda: is_ready(scene), "the CR to be Ready", 90)
    for path in crs:
        person.delete(path)
    scene.until(lambda: not any(map(person.get, crs)), "the CRs to be gone", 90)
    await scene.settled()


def is_ready(scene: Scene) -> bool:
    return "Ready" in (scene.state("btpoperator"), scene.state("older"))


@pytest.mark.parametrize(
    ("phase", "loss"),
    [(phase, finalizer_stripped_of_a_cr_that_others_keep) for phase in PHASES]
    + [(in_hard_delete, loss) for loss in LOSSES],
    ids=lambda each: each.__name__,
)
async def test_a_deletion_ends_soon_after_its_cr_stops_asking_and_touches_nothing_more(
    scene: Scene, phase: Phase, loss: Loss
) -> None:
    activity = phase(scene)
    run = Run(await connect(scene), scene.mandate())
    if phase is between_attempts_of_soft_delete:
        await run.handle.execute_update(DeprovisionWorkflow.skip_to_soft_delete, "a test")
    await run.reach(activity, paused=phase.__name__.startswith("between"))
    freeze(scene)
    with Stalls() as stalls:
        lost = datetime.now(UTC)
        why = loss(scene)
        ended = await run.end()
    result = await run.handle.result()
    result = DeprovisionResult.model_validate(result)
    assert result.outcome is ReleaseKind.MANDATE_LOST and re.fullmatch(why, result.lost_because), result
    world = everything(scene)
    scene.environment.proxy.clear()  # whatever stood in its way
    scene.environment.cluster.start_node()
    await asyncio.sleep(3)
    assert [write for write in scene.environment.proxy.writes if "/leases" not in write] == []
    assert everything(scene) == world
    assert ended - lost < SOON + timedelta(seconds=stalls.seconds)


def everything(scene: Scene) -> list[str]:
    """What a deletion would take: objects of the chart that are not going, and service objects."""
    named = [f"{obj['kind']} {obj['metadata']['name']}" for obj in scene.person.service_objects()]
    return sorted(scene.person.managed_objects() + named)


@pytest.mark.parametrize(
    "phase", [between_attempts_of_applying, in_the_wait_for_readiness], ids=lambda each: each.__name__
)
async def test_a_provisioning_ends_soon_after_its_cr_is_gone_and_touches_nothing_more(
    scene: Scene, phase: Phase
) -> None:
    scene.person.put_secret(scene.sap.credentials())
    activity = phase(scene)
    scene.person.create_operator("btpoperator")
    scene.until(lambda: scene.state() == "Processing", "the chart to be applied")
    run = Run(await connect(scene), scene.mandate())
    await run.reach(activity, paused=phase is between_attempts_of_applying)
    freeze(scene)
    with Stalls() as stalls:
        lost = datetime.now(UTC)
        finalizers(scene, OPERATOR, [])
        scene.person.delete_operator("btpoperator")
        ended = await run.end()
    result = ProvisionResult.model_validate(await run.handle.result())
    assert result.outcome is ProvisionOutcome.GONE
    world = everything(scene)
    scene.environment.proxy.clear()
    await asyncio.sleep(3)
    assert scene.environment.proxy.writes == [] and everything(scene) == world
    assert ended - lost < SOON + timedelta(seconds=stalls.seconds)
