"""What the doctor asks of Temporal: who serves this cluster's task queue, and whether all that runs there is ours."""

import asyncio

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.service import RPCError

from btpctl.check import Check
from btpctl.connections import cluster, temporal
from btpctl.errors import CommandError, answered
from btpctl.options import Options
from dispatch.names import schedule_id
from dispatch.nudger import Nudger
from dispatch.search_attributes import SEARCH_ATTRIBUTES
from kube.resources import BTP_OPERATORS
from models.names import RESYNC_WORKFLOW
from models.operators import Operator, OperatorRef
from models.text import some
from runtime.settings import SettingsError
from worker.task_queue import workers


async def check_temporal(options: Options) -> list[Check]:
    """Whether it answers, knows what we file workflows under, and has somebody at work on this cluster."""
    try:
        client = await temporal(options)
        listed = await answered(
            client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace)),
            "Temporal",
            options.timeout,
        )
        missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]
        attributes = (
            f"{', '.join(missing)} missing; a worker registers them when it starts" if missing else "registered"
        )
        return [
            Check("Temporal", True, f"{client.service_client.config.target_host}, namespace {client.namespace}"),
            _identity(client),
            Check("search attributes", not missing, attributes),
            *await _queue_checks(client, options),
        ]
    except (CommandError, SettingsError) as error:
        return [Check("Temporal", False, str(error))]


def _identity(client: Client) -> Check:
    """Whoever may write to the Temporal namespace can have every service object deleted."""
    config = client.service_client.config
    certificate = getattr(config.tls, "client_cert", None)
    if config.tls and (config.api_key or certificate):
        return Check("identity", True, "by client certificate" if certificate else "by API key")
    lacks = "an API key or a client certificate" if config.tls else "TLS"
    means = "whoever reaches it can have every service instance deleted; see docs/security.md"
    return Check("identity", True, f"Temporal is reached without {lacks}: {means}", warns=True)


async def _queue_checks(client: Client, options: Options) -> list[Check]:
    """Who serves this cluster's task queue, and whether it is looked at without events."""
    settings = options.settings()
    try:
        async with cluster(options) as reached:
            here = reached.identity
            found = await answered(reached.kube.list(BTP_OPERATORS, metadata_only=True), reached.who, options.timeout)
            refs = [Operator.from_object(obj).ref for obj in found.items]
    except CommandError as error:
        return [Check("workers", False, f"the task queue is not known without the cluster: {error}")]
    nudger = Nudger(client, here.task_queue, here.cluster, settings.limits(), settings.operand_teardown)
    asked = (_pollers(client, here.task_queue), _schedule(client, here.task_queue), _workflows(nudger, refs))
    return await asyncio.gather(*(answered(each, "Temporal", options.timeout) for each in asked))


async def _workflows(nudger: Nudger, refs: list[OperatorRef]) -> Check:
    """Whether somebody else holds the id of a CR."""
    squatters = [squatter for ref in refs if (squatter := await nudger.squatter(ref))]
    return Check(
        "workflows", not squatters, "; ".join(some(squatters, longest=300)) or "nobody else runs under a CR's id"
    )


async def _pollers(client: Client, task_queue: str) -> Check:
    names = await workers(client, task_queue)
    if not names:
        return Check("workers", False, f"none has asked task queue {task_queue} for work in the last 90 s; start one")
    # Whoever polls gets the work. Which of them are yours, only you know.
    return Check("workers", True, f"{len(names)} on task queue {task_queue}: {', '.join(some(names, most=10))}")


async def _schedule(client: Client, task_queue: str) -> Check:
    identity = schedule_id(task_queue)
    try:
        found = await client.get_schedule_handle(identity).describe()
    except RPCError as error:
        return Check("resync", False, f"schedule {identity}: {error.message}; a worker makes it when it starts")
    if found.schedule.state.paused:
        return Check(
            "resync", False, f"schedule {identity} is paused: {found.schedule.state.note or 'no reason given'}"
        )
    action, intervals = found.schedule.action, found.schedule.spec.intervals
    starts = (action.workflow, action.task_queue) if isinstance(action, ScheduleActionStartWorkflow) else ()
    if starts != (RESYNC_WORKFLOW, task_queue) or not intervals:
        why = "was changed and starts no resync of this cluster; a worker puts it right when it starts"
        return Check("resync", False, f"schedule {identity} {why}")
    return Check("resync", True, f"schedule {identity}, every {intervals[0].every}")
