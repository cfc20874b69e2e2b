"""Lets ServiceBindings and ServiceInstances go without the operand: its finalizer off, the object deleted.

Runs only when the operand and its webhooks are gone. Takes off that one finalizer and no other, never touches a Secret
that is not the binding's, and writes down what may live on in SAP BTP before letting it go. An object that cannot be
let go is reported as kept, not as abandoned, and keeps no other.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import Counter
from temporalio import activity

from activities.deletion_step import deletion_step
from activities.edge import checked
from activities.progress import Progress
from kube.answers import Object, Objects, items, part
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound, Refused, refuses_one_object
from kube.finalizers import taking_off
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from kube.side_by_side import side_by_side
from models.conditions import Reason
from models.deprovision import Removed, SoftDeleteResult, TeardownInput
from models.names import OPERAND_FINALIZER
from operand.abandoned_report import AbandonedReport, as_abandoned
from operand.errors import failure_of
from operand.mandated import MandatedKube
from operand.service_objects import is_held, kept_by, none_if_undefined, remove_secret

AT_ONCE: Final = 32
"""Objects let go side by side."""
LOOK_AGAIN: Final = 0.5
"""Seconds before the next look when the last one got nothing done."""
TRIES: Final = 5
"""Patches of one object that changed meanwhile; then the answer counts as a refusal."""
NAMED: Final = 3
ABANDONED: Final = Counter("btp_abandoned", "Service objects let go that may live on in SAP BTP", ("kind",))


class SoftDeleteActivities:
    """Bindings first, then instances: whoever looks in between sees no binding without its instance."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    @activity.defn
    @checked
    async def soft_delete_service_objects(self, input: TeardownInput) -> SoftDeleteResult:
        """Let every service object go; the result and ConfigMap sap-btp-abandoned name what was abandoned."""
        async with deletion_step(self._kube, input) as (progress, held):
            report = AbandonedReport(self._kube, held, input.ref, input.because)
            try:
                await report.load()
                kept: list[str] = []
                for resource in (SERVICE_BINDINGS, SERVICE_INSTANCES):
                    kept += await _LettingGo(self._kube, held, resource, report, progress).run()
            except KubeError as error:
                raise failure_of(error, Reason.RESOURCE_REMOVAL_FAILED, f"soft delete: {error}") from error
            return SoftDeleteResult(
                removed=progress.removed,
                abandoned_total=report.total,
                abandoned=report.first,
                kept=kept[:NAMED],
                not_listed=report.trouble[:2_000],
            )


class _LettingGo:
    """All objects of one kind."""

    def __init__(
        self, kube: Kube, held: MandatedKube, resource: Resource, report: AbandonedReport, progress: Progress
    ) -> None:
        self._kube = kube
        self._held = held
        self._resource = resource
        self._report = report
        self._progress = progress
        self._kept: dict[str, str] = {}
        """Why an object could not be let go, by uid."""
        self._tries: dict[str, int] = {}
        self._asked: set[str] = set()
        """Namespaces whose collection was asked to go since the list began: its pages show them as they were then."""

    async def run(self) -> list[str]:
        """List and let go, until a list shows none that could be let go: some may come meanwhile.

        Returns what is kept, each with the reason.
        """
        async with none_if_undefined(self._kube, self._resource):
            while True:
                held, before = 0, self._progress.removed
                self._asked.clear()
                async for page, _ in self._kube.pages(self._resource):
                    self._progress.got_answer()
                    held += sum(is_held(obj) and obj["metadata"]["uid"] not in self._kept for obj in page)
                    self._progress.removed += await self._let_go_page(page)
                    gone = self._progress.removed.bindings + self._progress.removed.instances
                    self._progress.say(f"{gone} service objects let go")
                if not held:
                    break
                if self._progress.removed == before:  # somebody is faster each time
                    await asyncio.sleep(LOOK_AGAIN)
        return list(self._kept.values())

    async def _let_go_page(self, page: Objects) -> Removed:
        """Write down, ask for the deletion, remove Secrets, take the finalizer off: in this order nothing is lost.

        A collection for each namespace instead of a request for each object: what it leaves is held by finalizers.
        Secrets go while their bindings still say which they are, and before the garbage collector has to look.
        """
        page = [obj for obj in page if obj["metadata"]["uid"] not in self._kept]
        alive = [obj for obj in page if not obj["metadata"].get("deletionTimestamp")]
        namespaces = sorted({obj["metadata"]["namespace"] for obj in alive} - self._asked)
        held = [obj for obj in page if is_held(obj)]
        await self._report.add([(obj["metadata"]["uid"], as_abandoned(self._resource, obj)) for obj in held])
        await side_by_side(lambda name: self._ask(name, alive), namespaces, AT_ONCE)
        page = [obj for obj in page if obj["metadata"]["uid"] not in self._kept]
        secrets = sum(await side_by_side(self._tidy_secrets, page, AT_ONCE))
        taken = await side_by_side(self._let_go, page, AT_ONCE)
        done = [obj for obj, off in zip(page, taken, strict=True) if off]  # the others come again in the next list
        await self._report.take_back(self._kept)
        ABANDONED.labels(self._resource.kind).inc(len([obj for obj in done if is_held(obj)]))
        gone = len([obj for obj in done if not kept_by(obj)])
        counted = {"bindings": gone} if self._resource is SERVICE_BINDINGS else {"instances": gone}
        return Removed(**counted, secrets=secrets)

    async def _ask(self, namespace: str, alive: Objects) -> None:
        """Ask for the deletion of a namespace's objects; where one of them stops the collection, of each by itself."""
        try:
            await self._held.delete_collection(self._resource, namespace)
            self._asked.add(namespace)
            return
        except NotFound:
            return
        except KubeError as error:
            if not refuses_one_object(error):
                raise
        for obj in alive:
            meta = obj["metadata"]
            if meta["namespace"] == namespace:
                try:
                    await self._held.delete(self._resource, meta["name"], namespace, uid=meta["uid"])
                except Conflict:
                    pass  # another object of that name by now, which the next list shows
                except KubeError as error:
                    self._keep(obj, error)

    async def _let_go(self, obj: Object) -> bool:
        try:
            return await self._take_off(self._resource, obj)
        except KubeError as error:
            self._keep(obj, error)
            return False

    def _keep(self, obj: Object, error: KubeError) -> None:
        """Note why one object cannot be let go. Raises the error if it says nothing about this very object."""
        if not refuses_one_object(error):
            raise error
        self._kept[obj["metadata"]["uid"]] = f"{self._resource.named(obj)}: {error}"

    async def _take_off(self, resource: Resource, obj: Object) -> bool:
        """Take the operand's finalizer off. False if the object changed meanwhile and has to be looked at again."""
        meta = obj["metadata"]
        if not is_held(obj):
            return True
        operations = taking_off(OPERAND_FINALIZER, meta)
        try:
            await self._held.json_patch(resource, meta["name"], meta["namespace"], operations)
        except NotFound:
            pass
        except KubeError as error:
            self._tries[meta["uid"]] = tried = self._tries.get(meta["uid"], 0) + 1
            if error.status not in (409, 422) or tried >= TRIES:
                raise
            return False  # a test did not hold: the object is not the one that was seen
        return True

    async def _tidy_secrets(self, obj: Object) -> int:
        """The binding's own Secret goes; a watched parameter Secret only loses the operand's finalizer.

        A Secret that may not be looked at, or has a name that none can have, stops nothing: it is not ours then.
        """
        meta, spec = obj["metadata"], part(obj, "spec")
        try:
            if self._resource is SERVICE_BINDINGS:
                if kept_by(obj):
                    return 0  # the binding stays, and its Secret with it
                name = str(spec.get("secretName") or meta["name"])
                return int(await remove_secret(self._kube, self._held, meta["namespace"], name, meta["uid"]))
            if spec.get("watchParametersFromChanges"):
                for name in _parameter_secrets(spec):
                    await self._release_parameters(name, meta["namespace"])
        except Refused as error:
            self._progress.say(f"a Secret of {self._resource.named(obj)} was left alone: {error}")
        return 0

    async def _release_parameters(self, name: str, namespace: str) -> None:
        """Take the operand's finalizer off a parameter Secret, whose values are not looked at."""
        for _ in range(TRIES):
            secret = await self._kube.find(SECRETS, name, namespace, metadata_only=True)
            if secret is None or secret["metadata"].get("namespace") != namespace:
                return
            if await self._take_off(SECRETS, secret):
                return


def _parameter_secrets(spec: Mapping[str, Any]) -> list[str]:
    references = [part(entry, "secretKeyRef") for entry in items(spec, "parametersFrom")]
    return sorted({str(reference["name"]) for reference in references if reference.get("name")})
