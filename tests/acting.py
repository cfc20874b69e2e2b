"""Runs an activity as the CR's own workflow would: the activity looks at who asks."""

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, ParamSpec, TypeVar
from weakref import WeakSet

from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.teardown import TeardownActivities
from dispatch.names import reclaim_id, resyncs, shown_reclaims, workflow_id
from kube.client import Kube
from models.deprovision import TeardownInput
from models.mandate import FinalizerRemoval, Mandate, Mandated
from models.names import DEPROVISION_WORKFLOW, NEWS, PROVISION_WORKFLOW, RESYNC_WORKFLOW
from models.operators import OperatorRef
from models.reclaim import Scope

Input = TypeVar("Input", bound=Mandate | Mandated)
Output = TypeVar("Output")
P = ParamSpec("P")
R = TypeVar("R")
LIMIT: Final = timedelta(minutes=5)
EXCUSED: Final = WeakSet[Kube]()
"""Administrators that a test has named."""


async def mandate_for(kube: Kube, ref: OperatorRef) -> Mandate:
    """The mandate of a CR of the connected cluster, whether or not the CR asks for anything."""
    return Mandate(cluster=await kube.cluster_uid(), ref=ref)


def letting_go(mandate: Mandate, *, as_spare: bool = False) -> FinalizerRemoval:
    return FinalizerRemoval(cluster=mandate.cluster, ref=mandate.ref, as_spare=as_spare)


async def provision(method: Callable[[Input], Awaitable[Output]], input: Input) -> Output:
    """Run an activity in the CR's ProvisionWorkflow."""
    return await acting_for(input, PROVISION_WORKFLOW).run(method, input)


async def deprovision(method: Callable[[Input], Awaitable[Output]], input: Input, limit: timedelta = LIMIT) -> Output:
    """Run an activity in the CR's DeprovisionWorkflow, with this limit over all its attempts."""
    return await acting_for(input, DEPROVISION_WORKFLOW, limit).run(method, input)


def administrator(kube: Kube, because: str) -> Kube:
    """The same cluster with the same rights, for whatever of the manager needs an administrator's here, and why."""
    assert because
    excused = Kube(kube._transport)
    EXCUSED.add(excused)
    return excused


def refuse_administrators(kube: object) -> None:
    """Worker and trigger have the rights that the chart gives them; what only an administrator could do fails.

    ServiceAccounts have a JWT. Users of a local cluster have tokens that are none, and all are administrators.
    """
    if isinstance(kube, Kube) and kube not in EXCUSED:
        token = kube._transport.connections.last.access.token
        assert token.count(".") == 2, "an administrator's rights, and no `administrator(kube, because)` names them"


class Asked(ActivityEnvironment):
    """What is asked for by a workflow, of a manager that is no administrator."""

    def run(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        refuse_administrators(getattr(getattr(fn, "__self__", None), "_kube", None))
        return super().run(fn, *args, **kwargs)


def in_a(workflow_type: str, client: Client | None = None) -> ActivityEnvironment:
    """An environment whose activities a workflow of this type asks for."""
    environment = Asked(client=client)
    environment.info = dataclasses.replace(environment.info, workflow_type=workflow_type)
    return environment


def as_its_reclaim(environment: ActivityEnvironment, input: Scope) -> ActivityEnvironment:
    """The same, in the ReclaimWorkflow that this input is for."""
    queue = environment.info.task_queue
    identity = reclaim_id(queue, Mandate(cluster=input.cluster, ref=input.ref) if input.ref else None)
    if input.only_show:
        identity = f"{shown_reclaims(queue)}1"
    environment.info = dataclasses.replace(environment.info, workflow_id=identity)
    return environment


def in_a_resync(client: Client | None = None) -> ActivityEnvironment:
    """An environment whose activities this cluster's resync asks for."""
    environment = in_a(RESYNC_WORKFLOW, client)
    identity = f"{resyncs(environment.info.task_queue)}2026-01-01T00:00:00Z"
    environment.info = dataclasses.replace(environment.info, workflow_id=identity)
    return environment


def acting_for(
    input: Mandate | Mandated, workflow_type: str, limit: timedelta = LIMIT, behind: timedelta = timedelta()
) -> ActivityEnvironment:
    """An environment whose activities the CR's workflow asks for, by a Temporal server whose clock is so far behind."""
    mandate = input if isinstance(input, Mandate) else input.mandate
    environment, now = in_a(workflow_type), datetime.now(UTC) - behind
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
