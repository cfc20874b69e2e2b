"""Lets ServiceBindings and ServiceInstances go without the operand: its finalizer off, the object deleted.

Runs only when the operand and its webhooks are gone. Takes off that one finalizer and no other, never touches a Secret
that is not the binding's, and writes down what may live on in SAP BTP before letting it go.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

from prometheus_client import Counter
from temporalio import activity

from activities.progress import Progress, failure, heartbeating
from kube.answers import Object, Objects
from kube.client import Kube
from kube.errors import KubeError, NotFound
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.conditions import Reason
from models.deprovision import AbandonedObject, Removed, SoftDeleteResult, TeardownInput
from models.names import OPERAND_FINALIZER
from operand.abandoned_report import AbandonedReport
from operand.service_objects import is_held, kept_by, last_message, remove_secret

T = TypeVar("T")
AT_ONCE: Final = 32
"""Objects let go side by side."""
LOOK_AGAIN: Final = 0.5
"""Seconds before the next look when the last one got nothing done."""
TRIES: Final = 5
ABANDONED = Counter("btp_abandoned", "Service objects let go that may live on in SAP BTP", ("kind",))


class SoftDeleteActivities:
    """Bindings first, then instances: whoever looks in between sees no binding without its instance."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    async def soft_delete(self, input: TeardownInput) -> SoftDeleteResult:
        """Let every service object go; the result and ConfigMap sap-btp-abandoned name what was abandoned."""
        async with heartbeating() as progress:
            report = AbandonedReport(self._kube, input.ref, input.because)
            try:
                await report.load()
                for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
                    await self._let_go_all(resource, report, progress)
                return SoftDeleteResult(removed=progress.removed, abandoned_total=report.total, abandoned=report.first)
            except KubeError as error:
                raise failure(error, Reason.RESOURCE_REMOVAL_FAILED, f"soft delete: {error}") from error

    async def _let_go_all(self, resource: Resource, report: AbandonedReport, progress: Progress) -> None:
        """List and let go, until a list shows none that the operand's finalizer holds: some may come meanwhile."""
        with contextlib.suppress(NotFound):  # the CRD is not there, so nothing of its kind is
            while True:
                held, before = 0, progress.removed
                async for page, _ in self._kube.pages(resource):
                    held += sum(is_held(obj) for obj in page)
                    gone = await self._let_go_page(resource, page, report)
                    progress.removed += gone
                    progress.say(f"{progress.removed.bindings + progress.removed.instances} service objects let go")
                if not held:
                    return
                if progress.removed == before:  # somebody is faster each time
                    await asyncio.sleep(LOOK_AGAIN)

    async def _let_go_page(self, resource: Resource, page: Objects, report: AbandonedReport) -> Removed:
        """Write down, ask for the deletion, remove Secrets, take the finalizer off: in this order nothing is lost.

        A collection for each namespace instead of a request for each object: what it leaves is held by finalizers.
        Secrets go while their bindings still say which they are, and before the garbage collector has to look.
        """
        if held := [(obj["metadata"]["uid"], _abandoned(resource, obj)) for obj in page if is_held(obj)]:
            await report.add(held)
        room = asyncio.Semaphore(AT_ONCE)

        async def limited(work: Coroutine[Any, Any, T]) -> T:
            async with room:
                return await work

        alive = {obj["metadata"]["namespace"] for obj in page if not obj["metadata"].get("deletionTimestamp")}
        await asyncio.gather(*(limited(self._kube.delete_collection(resource, name)) for name in sorted(alive)))
        secrets = sum(await asyncio.gather(*(limited(self._tidy_secrets(resource, obj)) for obj in page)))
        taken = await asyncio.gather(*(limited(self._take_off(resource, obj)) for obj in page))
        done = [obj for obj, off in zip(page, taken, strict=True) if off]  # the others come again in the next list
        ABANDONED.labels(resource.kind).inc(len([obj for obj in done if is_held(obj)]))
        gone = len([obj for obj in done if not kept_by(obj)])
        return Removed(**{"bindings" if resource is SERVICE_BINDINGS else "instances": gone, "secrets": secrets})

    async def _take_off(self, resource: Resource, obj: Object) -> bool:
        """Remove the operand's finalizer, provided that it still stands where it was seen (JSON patch `test`).

        False if somebody changed the object in between: it has to be read again.
        """
        if not is_held(obj):
            return True
        meta = obj["metadata"]
        path = f"/metadata/finalizers/{meta['finalizers'].index(OPERAND_FINALIZER)}"
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "test", "path": path, "value": OPERAND_FINALIZER},
            {"op": "remove", "path": path},
        ]
        try:
            await self._kube.json_patch(resource, meta["name"], meta["namespace"], operations)
        except NotFound:
            pass
        except KubeError as error:
            if error.status not in (409, 422):
                raise
            return False
        return True

    async def _release_parameters(self, name: str, namespace: str) -> None:
        """Take the operand's finalizer off a parameter Secret, whose values are not looked at."""
        for _ in range(TRIES):
            secret = await self._kube.find(SECRETS, name, namespace, metadata_only=True)
            if secret is None or await self._take_off(SECRETS, secret):
                return

    async def _tidy_secrets(self, resource: Resource, obj: Object) -> int:
        """The binding's own Secret goes; a watched parameter Secret only loses the operand's finalizer."""
        meta, spec = obj["metadata"], obj.get("spec") or {}
        if resource is SERVICE_BINDINGS:
            if kept_by(obj):
                return 0  # the binding stays, and its Secret with it
            name = spec.get("secretName") or meta["name"]
            return int(await remove_secret(self._kube, meta["namespace"], name, meta["uid"]))
        if spec.get("watchParametersFromChanges"):
            for name in _parameter_secrets(spec):
                await self._release_parameters(name, meta["namespace"])
        return 0


def _abandoned(resource: Resource, obj: Mapping[str, Any]) -> AbandonedObject:
    meta, status = obj["metadata"], obj.get("status") or {}
    return AbandonedObject(
        kind=resource.kind,
        namespace=meta["namespace"],
        name=meta["name"],
        sap_id=str(status.get("bindingID" if resource is SERVICE_BINDINGS else "instanceID") or ""),
        broker_message=last_message(obj),
        kept_by=kept_by(obj),
    )


def _parameter_secrets(spec: Mapping[str, Any]) -> list[str]:
    references = [entry.get("secretKeyRef") or {} for entry in spec.get("parametersFrom") or []]
    return sorted({str(reference["name"]) for reference in references if reference.get("name")})
