"""Waiting until a deletion that must not take service objects along may go on: it looks, and changes nothing."""

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from activities import confirmation
from activities.confirmation import ConfirmationActivities
from kube.client import Kube
from kube.resources import BTP_OPERATORS, SERVICE_BINDINGS
from models.deprovision import ConfirmationInput, Remaining
from models.mandate import Mandate
from models.names import MANDATE_LOST, STILL_WAITING
from tests.acting import deprovision
from tests.activities.deletion import seed
from tests.cluster import free


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(confirmation, "ATTEMPT", 2.0)


async def wait(kube: Kube, deletion: Mandate, **told: int) -> Remaining:
    told_input = ConfirmationInput(mandate=deletion, **told)
    return await deprovision(ConfirmationActivities(kube).wait_for_another_count, told_input)


async def test_what_is_left_is_counted_anew_as_soon_as_it_is_not_what_the_cr_says(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 2)
    assert await wait(worker, deletion) == Remaining(bindings=2, instances=2)
    waiting = asyncio.create_task(wait(worker, deletion, bindings=2, instances=2))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    for binding in (await kube.list(SERVICE_BINDINGS)).items:
        await kube.delete(SERVICE_BINDINGS, binding["metadata"]["name"], binding["metadata"]["namespace"])
        await free(kube, SERVICE_BINDINGS, binding)
        break
    assert await waiting == Remaining(bindings=1, instances=2)


async def test_an_attempt_in_which_nothing_changes_ends_and_says_what_is_left(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate
) -> None:
    await seed(kube, 1, 1)
    with pytest.raises(ApplicationError, match="1 ServiceBinding and 1 ServiceInstance left") as error:
        await wait(worker, deletion, bindings=1, instances=1)
    assert error.value.type == STILL_WAITING


async def test_without_the_operands_definitions_nothing_is_left(kube: Kube, worker: Kube, deletion: Mandate) -> None:
    assert await wait(worker, deletion, bindings=1, instances=1) == Remaining()


async def test_a_wait_ends_with_the_cr_that_it_was_for(
    kube: Kube, worker: Kube, service_kinds: None, deletion: Mandate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await seed(kube, 1, 1)
    monkeypatch.setattr(confirmation, "ATTEMPT", 30.0)
    waiting = asyncio.create_task(wait(worker, deletion, bindings=1, instances=1))
    await asyncio.sleep(0.5)
    await free(kube, BTP_OPERATORS, await kube.get(BTP_OPERATORS, deletion.ref.name, deletion.ref.namespace))
    with pytest.raises(ApplicationError) as error:
        await asyncio.wait_for(waiting, 15)
    assert error.value.type == MANDATE_LOST
