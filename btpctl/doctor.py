"""Checks everything that worker and trigger need, and says of each what to do if it is not so."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, ScheduleActionStartWorkflow
from temporalio.service import RPCError

from btpctl.connections import CommandError, cluster, temporal
from btpctl.deletions import pending_deletions
from dispatch.names import schedule_id
from dispatch.nudger import Nudger
from dispatch.search_attributes import SEARCH_ATTRIBUTES
from kube.answers import Object
from kube.client import Kube
from kube.errors import KubeError
from kube.resources import (
    BTP_OPERATORS,
    LEASES,
    NAMESPACES,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
    chart_kind,
)
from models.credentials import REQUIRED_KEYS, verdict
from models.names import CREDENTIALS_SECRET, GO_MANAGER_LEASE, KYMA_NAMESPACE, RESYNC_WORKFLOW
from models.operators import Operator, OperatorRef
from models.text import plain, some
from operand.credentials import Credentials
from operand.other_manager import other_manager
from operand.rendering import RenderError
from runtime.identity import identity_of
from runtime.operand_chart import renderer_of
from runtime.settings import WorkerSettings
from worker.task_queue import pollers

ACCESS_REVIEWS: Final = Resource(
    "authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", False
)
EXAMPLE: Final = Credentials({"data": dict.fromkeys(REQUIRED_KEYS, "ZG9jdG9y")})
Right = tuple[Resource, str, str | None, str | None]
"""Kind, verb, namespace, name."""


@dataclass(frozen=True)
class Check:
    """One thing that has to be so."""

    name: str
    ok: bool
    detail: str
    warns: bool = False
    """It works, and somebody should know what it means."""


async def examine(settings: WorkerSettings) -> list[Check]:
    """Every check; none stops the others."""
    objects, chart = await _chart(settings)
    return [chart, *await _cluster_checks(objects), *await _temporal_checks(settings)]


async def _chart(settings: WorkerSettings) -> tuple[list[Object], Check]:
    try:
        renderer = await renderer_of(settings)
        values = EXAMPLE.values()
        values["manager"]["webhook"] = {"caBundle": "ZG9jdG9y"}
        objects = await renderer.render(values)
    except (ValueError, RenderError) as error:
        return [], Check("chart", False, f"{settings.chart_path}: {error}")
    return objects, Check("chart", True, f"{renderer.chart.name} {renderer.version} renders {len(objects)} objects")


async def _cluster_checks(objects: list[Object]) -> list[Check]:
    try:
        kube = await cluster()
    except CommandError as error:
        return [Check("cluster", False, str(error))]
    try:
        checks = [await _look("CustomResourceDefinition", lambda: _crd(kube), kube)]
        checks.append(await _look("pending deletions", lambda: pending_deletions(kube), kube))
        checks.append(await _look("another manager", lambda: _alone(kube), kube))
        checks += [await _look("namespace", lambda: _there(kube, NAMESPACES, KYMA_NAMESPACE), kube)]
        for name in sorted({name for obj in objects if (name := _priority_class(obj))}):
            checks.append(await _look("PriorityClass", partial(_there, kube, PRIORITY_CLASSES, name), kube))
        checks.append(await _look("Secret", lambda: _secret(kube), kube))
        checks.append(await _look("rights", lambda: _rights(kube, objects), kube))
        return checks
    finally:
        await kube.close()


async def _look(name: str, check: Callable[[], Awaitable[tuple[bool, str]]], kube: Kube) -> Check:
    try:
        return Check(name, *await check())
    except KubeError as error:
        return Check(name, False, f"{kube.host}: {error}")


async def _crd(kube: Kube) -> tuple[bool, str]:
    """NotFound becomes a sentence of its own: it is the usual case."""
    try:
        found = await kube.list(BTP_OPERATORS)
    except KubeError as error:
        if error.status == 404:
            return False, "BtpOperators are unknown; kubectl apply -f chart/btp-manager/crds/"
        raise
    return True, f"{len(found.items)} BtpOperators at {kube.host}"


async def _alone(kube: Kube) -> tuple[bool, str]:
    if seen := await other_manager(kube):
        return False, f"the Go manager runs ({seen}): nothing is applied or deleted while it does; see docs/upgrade.md"
    return True, "none"


async def _there(kube: Kube, resource: Resource, name: str) -> tuple[bool, str]:
    found = await kube.find(resource, name)
    return found is not None, name if found else f"{resource.kind} {name} does not exist; create it"


async def _secret(kube: Kube) -> tuple[bool, str]:
    trouble = verdict(await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE))
    return trouble is None, trouble[1] if trouble else f"{KYMA_NAMESPACE}/{CREDENTIALS_SECRET} has every key"


async def _rights(kube: Kube, objects: list[Object]) -> tuple[bool, str]:
    """What a worker does, asked of the API server for whoever runs this (SelfSubjectAccessReview)."""
    wanted = needed(objects)
    room = asyncio.Semaphore(8)

    async def allowed(right: Right) -> bool:
        resource, verb, namespace, name = right
        plural, _, subresource = resource.plural.partition("/")
        attributes = {
            "group": resource.group,
            "resource": plural,
            "subresource": subresource,
            "verb": verb,
            "namespace": namespace or "",
            "name": name or "",
        }
        review: Object = {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": ACCESS_REVIEWS.kind,
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        async with room:
            answer = await kube.review(ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))

    answers = await asyncio.gather(*map(allowed, wanted))
    missing = [right for right, yes in zip(wanted, answers, strict=True) if not yes]
    if not missing:
        return True, f"all {len(wanted)} that a worker needs"
    shown = "; ".join(f"{verb} {resource.plural} {name or ''}".strip() for resource, verb, _, name in missing[:5])
    return False, f"{len(missing)} of {len(wanted)} are missing: {shown}; chart/btp-manager grants them to the worker"


def needed(objects: list[Object]) -> list[Right]:
    """The rights that provisioning and deletion use."""
    status = Resource(BTP_OPERATORS.group, BTP_OPERATORS.version, "BtpOperator", "btpoperators/status")
    rights: list[Right] = [(BTP_OPERATORS, verb, None, None) for verb in ("get", "list", "patch")]
    rights.append((status, "patch", None, None))
    for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
        rights += [(resource, verb, None, None) for verb in ("list", "watch", "patch", "delete", "deletecollection")]
    rights += [(SECRETS, verb, None, None) for verb in ("get", "patch", "delete")]
    rights.append((LEASES, "get", KYMA_NAMESPACE, GO_MANAGER_LEASE))
    for obj in objects:
        resource, meta = chart_kind(obj), obj["metadata"]
        for verb in ("create", "patch", "delete"):
            rights.append((resource, verb, meta.get("namespace"), meta["name"]))
    return rights


async def _temporal_checks(settings: WorkerSettings) -> list[Check]:
    try:
        client = await temporal(settings)
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = [key.name for key in SEARCH_ATTRIBUTES if key.name not in listed.custom_attributes]
        attributes = (
            f"{', '.join(missing)} missing; a worker registers them when it starts" if missing else "registered"
        )
        return [
            Check("Temporal", True, f"{client.service_client.config.target_host}, namespace {client.namespace}"),
            _identity(client),
            Check("search attributes", not missing, attributes),
            *await _queue_checks(client, settings),
        ]
    except (CommandError, RPCError) as error:
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


async def _queue_checks(client: Client, settings: WorkerSettings) -> list[Check]:
    """Who serves this cluster's task queue, and whether it is looked at without events."""
    try:
        kube = await cluster()
        try:
            here = await identity_of(kube, settings)
            refs = [Operator.from_object(obj).ref for obj in (await kube.list(BTP_OPERATORS, metadata_only=True)).items]
        finally:
            await kube.close()
    except (CommandError, KubeError) as error:
        return [Check("workers", False, f"the task queue is not known without the cluster: {error}")]
    nudger = Nudger(client, here.task_queue, here.cluster, settings.limits(), settings.operand_teardown)
    return [
        await _pollers(client, here.task_queue),
        await _schedule(client, here.task_queue),
        await _workflows(nudger, refs),
    ]


async def _workflows(nudger: Nudger, refs: list[OperatorRef]) -> Check:
    """Whether somebody else holds the id of a CR."""
    rivals = [rival for ref in refs if (rival := await nudger.rival(ref))]
    return Check("workflows", not rivals, "; ".join(some(rivals, longest=300)) or "nobody else runs under a CR's id")


async def _pollers(client: Client, task_queue: str) -> Check:
    names = sorted(plain(identity, 100) for identity in await pollers(client, task_queue))
    if not names:
        return Check("workers", False, f"none on task queue {task_queue}; start one")
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


def _priority_class(obj: Object) -> str:
    template = (obj.get("spec") or {}).get("template") or {}
    spec = template.get("spec") if isinstance(template, dict) else None
    return str((spec or {}).get("priorityClassName") or "")
