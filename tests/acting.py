"""Runs an activity as the CR's own workflow would: the activity looks at who asks."""

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.teardown import TeardownActivities
from dispatch.names import workflow_id
from kube.client import Kube
from models.deprovision import TeardownInput
from models.mandate import Mandate, Mandated
from models.names import DEPROVISION_WORKFLOW, PROVISION_WORKFLOW
from models.operators import OperatorRef

Input = TypeVar("Input", bound=Mandate | Mandated)
Output = TypeVar("Output")


async def mandate_for(kube: Kube, ref: OperatorRef) -> Mandate:
    """The mandate of a CR of the connected cluster, whether or not the CR asks for anything."""
    return Mandate(cluster=await kube.cluster_uid(), ref=ref)


async def provision(method: Callable[[Input], Awaitable[Output]], input: Input) -> Output:
    """Run an activity in the CR's ProvisionWorkflow."""
    return await _environment(input, PROVISION_WORKFLOW).run(method, input)


async def deprovision(method: Callable[[Input], Awaitable[Output]], input: Input) -> Output:
    """Run an activity in the CR's DeprovisionWorkflow."""
    return await _environment(input, DEPROVISION_WORKFLOW).run(method, input)


def _environment(input: Mandate | Mandated, workflow_type: str) -> ActivityEnvironment:
    mandate = input if isinstance(input, Mandate) else input.mandate
    environment, now = ActivityEnvironment(), datetime.now(UTC)
    environment.info = dataclasses.replace(
        environment.info,
        workflow_id=workflow_id(mandate, environment.info.task_queue),
        workflow_type=workflow_type,
        scheduled_time=now,
        started_time=now,
        schedule_to_close_timeout=timedelta(minutes=5),
    )
    return environment


async def removed(teardown: TeardownActivities, mandate: Mandate) -> None:
    """Attempts follow each other as in a workflow: the API server takes up to a minute to let a definition go."""
    for _ in range(4):
        with contextlib.suppress(ApplicationError):
            await deprovision(teardown.remove_resources, TeardownInput(mandate=mandate))
            return
    raise AssertionError("the operand was not removed in four attempts")
