"""Lets ServiceBindings and ServiceInstances go without the operand: its finalizer off, the object deleted.

Runs only when the operand and its webhooks are gone. Takes off that one finalizer and no other, never touches a Secret
that is not the binding's, and writes down what may live on in SAP BTP before letting it go.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from temporalio import activity

from activities.abandoned import AbandonedReport
from activities.progress import Progress, failure, heartbeating
from activities.service_objects import last_message, remove_secret
from kube.client import Kube, Object
from kube.errors import KubeError, NotFound
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.conditions import Reason
from models.names import OPERAND_FINALIZER
from models.workflow_io import MAX_NAMED, AbandonedObject, Removed, SoftDeleteResult, TeardownInput

AT_ONCE: Final = 32
"""Objects let go side by side."""


class SoftDeleteActivities:
    """Bindings first, then instances: whoever looks in between sees no binding without its instance."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def soft_delete(self, input: TeardownInput) -> SoftDeleteResult:
        """Let every service object go; the result and ConfigMap sap-btp-abandoned name what was abandoned."""
        async with heartbeating() as progress:
            report = AbandonedReport(self._kube)
            try:
                await report.load()
                result = SoftDeleteResult()
                for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
                    result = _joined(result, await self._let_go_all(resource, report, progress))
                return result
            except KubeError as error:
                raise failure(error, Reason.RESOURCE_REMOVAL_FAILED, f"soft delete: {error}") from error

    async def _let_go_all(self, resource: Resource, report: AbandonedReport, progress: Progress) -> SoftDeleteResult:
        result = SoftDeleteResult()
        room = asyncio.Semaphore(AT_ONCE)
        try:
            async for page, _ in self._kube.pages(resource):
                held = [obj for obj in page if OPERAND_FINALIZER in (obj["metadata"].get("finalizers") or [])]
                abandoned = [(obj["metadata"]["uid"], _abandoned(resource, obj)) for obj in held]
                if abandoned:
                    await report.add(abandoned)
                await asyncio.gather(*(self._let_go(resource, obj, room) for obj in page))
                secrets = sum(await asyncio.gather(*(self._after(resource, obj, room) for obj in page)))
                count = {"bindings" if resource is SERVICE_BINDINGS else "instances": len(page), "secrets": secrets}
                result = _joined(
                    result,
                    SoftDeleteResult(
                        removed=Removed(**count),
                        abandoned_total=len(abandoned),
                        abandoned=[entry for _, entry in abandoned],
                    ),
                )
                progress.say(f"{result.removed.bindings + result.removed.instances} {resource.kind}s let go")
        except NotFound:
            pass  # the CRD is not there, so nothing of its kind is
        return result

    async def _let_go(self, resource: Resource, obj: Object, room: asyncio.Semaphore) -> None:
        """Two requests: ask for the deletion, then take the finalizer off; in this order nothing adds it again."""
        meta = obj["metadata"]
        async with room:
            if not meta.get("deletionTimestamp"):
                await self._kube.delete(resource, meta["name"], meta["namespace"], uid=meta["uid"])
            await self._take_off(resource, obj)

    async def _take_off(self, resource: Resource, obj: Object | None) -> None:
        """Remove the operand's finalizer, provided that it still stands where it was seen (JSON patch `test`)."""
        for _ in range(5):
            if obj is None or OPERAND_FINALIZER not in (finalizers := obj["metadata"].get("finalizers") or []):
                return
            name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
            path = f"/metadata/finalizers/{finalizers.index(OPERAND_FINALIZER)}"
            operations = [
                {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]},
                {"op": "test", "path": path, "value": OPERAND_FINALIZER},
                {"op": "remove", "path": path},
            ]
            try:
                await self._kube.json_patch(resource, name, namespace, operations)
                return
            except NotFound:
                return
            except KubeError as error:
                if error.status not in (409, 422):
                    raise
            uid = obj["metadata"]["uid"]
            obj = await self._kube.find(resource, name, namespace)
            if obj is not None and obj["metadata"]["uid"] != uid:
                return

    async def _after(self, resource: Resource, obj: Object, room: asyncio.Semaphore) -> int:
        """Secrets: the binding's own goes; a watched parameter Secret only loses the operand's finalizer."""
        meta, spec = obj["metadata"], obj.get("spec") or {}
        async with room:
            if resource is SERVICE_BINDINGS:
                name = spec.get("secretName") or meta["name"]
                return int(await remove_secret(self._kube, meta["namespace"], name, meta["uid"]))
            if spec.get("watchParametersFromChanges"):
                for name in _parameter_secrets(spec):
                    await self._take_off(SECRETS, await self._kube.find(SECRETS, name, meta["namespace"]))
        return 0


def _abandoned(resource: Resource, obj: Mapping[str, Any]) -> AbandonedObject:
    meta, status = obj["metadata"], obj.get("status") or {}
    return AbandonedObject(
        kind=resource.kind,
        namespace=meta["namespace"],
        name=meta["name"],
        sap_id=str(status.get("bindingID" if resource is SERVICE_BINDINGS else "instanceID") or ""),
        broker_message=last_message(obj),
        kept_by=[name for name in meta.get("finalizers") or [] if name != OPERAND_FINALIZER],
    )


def _parameter_secrets(spec: Mapping[str, Any]) -> list[str]:
    references = [entry.get("secretKeyRef") or {} for entry in spec.get("parametersFrom") or []]
    return sorted({str(reference["name"]) for reference in references if reference.get("name")})


def _joined(left: SoftDeleteResult, right: SoftDeleteResult) -> SoftDeleteResult:
    return SoftDeleteResult(
        removed=left.removed + right.removed,
        abandoned_total=left.abandoned_total + right.abandoned_total,
        abandoned=[*left.abandoned, *right.abandoned][:MAX_NAMED],
    )
