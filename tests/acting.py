"""Runs an activity as the CR's own workflow would: the activity looks at who asks."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.teardown import TeardownActivities
from dispatch.names import workflow_id
from kube.client import Kube
from models.deprovision import TeardownInput
from models.mandate import Mandate, Mandated
from models.names import DEPROVISION_WORKFLOW, NEWS, PROVISION_WORKFLOW
from models.operators import OperatorRef

Input = TypeVar("Input", bound=Mandate | Mandated)
Output = TypeVar("Output")
LIMIT: Final = timedelta(minutes=5)


async def mandate_for(kube: Kube, ref: OperatorRef) -> Mandate:
    """The mandate of a CR of the connected cluster, whether or not the CR asks for anything."""
    return Mandate(cluster=await kube.cluster_uid(), ref=ref)


async def provision(method: Callable[[Input], Awaitable[Output]], input: Input) -> Output:
    """Run an activity in the CR's ProvisionWorkflow."""
    return await _environment(input, PROVISION_WORKFLOW).run(method, input)


async def deprovision(method: Callable[[Input], Awaitable[Output]], input: Input, limit: timedelta = LIMIT) -> Output:
    """Run an activity in the CR's DeprovisionWorkflow, with this limit over all its attempts."""
    return await _environment(input, DEPROVISION_WORKFLOW, limit).run(method, input)


def in_a(workflow_type: str, client: Client | None = None) -> ActivityEnvironment:
    """An environment whose activities a workflow of this type asks for."""
    environment = ActivityEnvironment(client=client)
    environment.info = dataclasses.replace(environment.info, workflow_type=workflow_type)
    return environment


def _environment(input: Mandate | Mandated, workflow_type: str, limit: timedelta = LIMIT) -> ActivityEnvironment:
    mandate = input if isinstance(input, Mandate) else input.mandate
    environment, now = in_a(workflow_type), datetime.now(UTC)
    environment.info = dataclasses.replace(
        environment.info,
        workflow_id=workflow_id(mandate, environment.info.task_queue),
        scheduled_time=now,
        started_time=now,
        schedule_to_close_timeout=limit,
    )
    return environment


async def removed(teardown: TeardownActivities, mandate: Mandate) -> None:
    """Attempts follow each other as in a workflow: the API server takes up to a minute to let a definition go."""
    input = TeardownInput(mandate=mandate)
    for _ in range(8):
        try:
            await deprovision(teardown.remove_resources, input)
            return
        except ApplicationError as error:  # what it waits for is said, and waited for again
            input = input.model_copy(update={"told": error.message if error.type == NEWS else input.told})
    raise AssertionError(f"the operand was not removed in eight attempts: {input.told}")
