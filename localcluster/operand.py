"""A stand-in for the operand's binary, which is not available here: `python -m localcluster.operand`.

A small controller with the operand's facts: one object of a kind at a time, bindings and instances side by side; its
finalizer, conditions, binding Secrets with an ownerReference; pauses after refusals that grow for each object;
deletions that Service Manager accepts and does later; the adoption of what Service Manager has under the same name; and
a webhook server on the chart's certificates. It acts only while the operand's Deployment has a pod, as the real one.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from kube.answers import Object
from kube.client import Kube
from kube.errors import Conflict, KubeError, NotFound
from kube.reflector import Reflector, Source
from kube.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.servicemanager import of_cluster
from localcluster.webhooks import admit, serving
from models.names import (
    KYMA_NAMESPACE,
    OPERAND_CONFIG,
    OPERAND_CREDENTIALS_SECRET,
    OPERAND_FINALIZER,
    OPERAND_POD_SELECTOR,
    WEBHOOK_CERT_SECRET,
)

WEBHOOK_PORT: Final = int(os.environ.get("OPERAND_WEBHOOK_PORT") or 9443)
FIRST_PAUSE: Final = 10.0
"""Seconds before a refused deletion is tried again; doubles each time (the operand's RETRY_BASE_DELAY)."""
LONGEST_PAUSE: Final = 3600.0 * 3
"""The operand's RETRY_MAX_DELAY."""
POLL_EVERY: Final = 1.0
"""Seconds between looks at a deletion that Service Manager does later. The operand's POLL_INTERVAL is 10 s."""
LARGEST_REVIEW: Final = 8 * 2**20
"""Bytes: a review carries an object twice, and an object may have as many as etcd takes."""

Key = tuple[str, str]


class Refusal(Exception):
    """Service Manager's no, in its words."""


class UnderWay(Exception):
    """Service Manager does it later: `str()` is the path at which it says how far it is."""


class Operand:
    """Reconciles every ServiceInstance and ServiceBinding, one task for each object that has something to do.

    `at_once` objects of a kind are worked on side by side: the real one works on one.
    """

    def __init__(self, kube: Kube, http: aiohttp.ClientSession, at_once: int) -> None:
        self._kube = kube
        self._http = http
        self._token, self._token_ends = "", 0.0
        self._tasks: dict[tuple[str, Key], asyncio.Task[None]] = {}
        self._again: set[tuple[str, Key]] = set()
        self._room = {resource: asyncio.Semaphore(at_once) for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)}
        self._operations: dict[tuple[str, Key], str] = {}
        self._reflectors = {
            resource: Reflector(kube, Source(resource, lambda obj: obj, metadata_only=False))
            for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS)
        }

    async def run(self) -> None:
        """Act until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for reflector in self._reflectors.values():
                    tasks.create_task(self._follow(reflector))
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, reflector: Reflector) -> None:
        async for change in reflector.changes():
            self._wake(change.source.resource, change.key)
            if change.source.resource is SERVICE_INSTANCES and change.after:
                for key, binding in self._reflectors[SERVICE_BINDINGS].known.items():
                    if (key[0], binding["spec"]["serviceInstanceName"]) == change.key:
                        self._wake(SERVICE_BINDINGS, key)

    def _wake(self, resource: Resource, key: Key) -> None:
        name = (resource.plural, key)
        if name in self._tasks and not self._tasks[name].done():
            self._again.add(name)
            return
        self._tasks[name] = asyncio.create_task(self._work(resource, key))

    async def _work(self, resource: Resource, key: Key) -> None:
        pause = FIRST_PAUSE
        while True:
            self._again.discard((resource.plural, key))
            try:
                async with self._room[resource]:
                    obj = self._reflectors[resource].known.get(key)
                    if obj is not None:
                        await self._reconcile(resource, obj)
                if (resource.plural, key) not in self._again:
                    self._tasks.pop((resource.plural, key), None)
                    return
            except Refusal as refusal:
                await self._condition(resource, key, False, "DeleteFailed", str(refusal))
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except UnderWay as operation:
                self._operations[resource.plural, key] = str(operation)
                await asyncio.sleep(POLL_EVERY)
            except (KubeError, aiohttp.ClientError):
                await asyncio.sleep(0.2)

    async def _reconcile(self, resource: Resource, obj: Object) -> None:
        meta, status = obj["metadata"], obj.get("status") or {}
        held = OPERAND_FINALIZER in (meta.get("finalizers") or [])
        if meta.get("deletionTimestamp"):
            if held:
                await self._remove(resource, obj)
        elif not held:
            finalizers = [*(meta.get("finalizers") or []), OPERAND_FINALIZER]
            patch = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}}
            await self._kube.merge(resource, meta["name"], meta["namespace"], patch)
        elif not status.get("ready"):
            await self._provide(resource, obj)

    async def _provide(self, resource: Resource, obj: Object) -> None:
        meta, key = obj["metadata"], (obj["metadata"]["namespace"], obj["metadata"]["name"])
        config = await self._kube.get(CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
        cluster_id = config["data"]["CLUSTER_ID"]
        body: dict[str, Any] = {"name": meta["name"], **of_cluster(cluster_id, *key)}
        if resource is SERVICE_BINDINGS:
            instance = self._reflectors[SERVICE_INSTANCES].known.get((key[0], obj["spec"]["serviceInstanceName"]), {})
            identity = (instance.get("status") or {}).get("instanceID")
            if not identity:
                return  # comes again when the instance is ready
            body["service_instance_id"] = identity
        made = await self._known(resource, cluster_id, key) or await self._call("POST", _path(resource), body)
        if resource is SERVICE_BINDINGS:
            await self._write_secret(obj, made["credentials"])
        field = "bindingID" if resource is SERVICE_BINDINGS else "instanceID"
        await self._condition(resource, key, True, "Created", "created", **{field: made["id"], "ready": "True"})

    async def _known(self, resource: Resource, cluster_id: str, key: Key) -> dict[str, Any] | None:
        """What Service Manager has under that name of this cluster: an answer may have been lost. It is adopted."""
        fields = f"name eq '{key[1]}' and context/clusterid eq '{cluster_id}' and context/namespace eq '{key[0]}'"
        query = urlencode({"fieldQuery": fields, "labelQuery": f"_k8sname eq '{key[1]}'"})
        found = (await self._call("GET", f"{_path(resource)}?{query}"))["items"]
        return found[0] if found else None

    async def _remove(self, resource: Resource, obj: Object) -> None:
        meta, status = obj["metadata"], obj.get("status") or {}
        identity = status.get("bindingID" if resource is SERVICE_BINDINGS else "instanceID")
        if identity:
            await self._remove_from_sap(resource, (meta["namespace"], meta["name"]), identity)
        if resource is SERVICE_BINDINGS:
            await self._kube.delete(SECRETS, obj["spec"].get("secretName") or meta["name"], meta["namespace"])
        with contextlib.suppress(NotFound):
            current = await self._kube.get(resource, meta["name"], meta["namespace"])
            finalizers = [name for name in current["metadata"].get("finalizers") or [] if name != OPERAND_FINALIZER]
            version = current["metadata"]["resourceVersion"]
            patch = {"metadata": {"finalizers": finalizers, "resourceVersion": version}}
            await self._kube.merge(resource, meta["name"], meta["namespace"], patch)

    async def _remove_from_sap(self, resource: Resource, key: Key, identity: str) -> None:
        """Raises UnderWay until Service Manager has done it."""
        operation = self._operations.pop((resource.plural, key), "")
        if not operation:
            await self._call("DELETE", f"{_path(resource)}/{identity}")
            return
        seen = await self._call("GET", operation)
        if seen.get("state") in ("in progress", "pending"):
            raise UnderWay(operation)
        if seen.get("state") == "failed":
            raise Refusal(str((seen.get("errors") or {}).get("description")))

    async def _write_secret(self, binding: Object, credentials: dict[str, str]) -> None:
        meta = binding["metadata"]
        owner = {
            "apiVersion": SERVICE_BINDINGS.api_version,
            "kind": SERVICE_BINDINGS.kind,
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
        }
        secret = {
            "metadata": {
                "name": binding["spec"].get("secretName") or meta["name"],
                "namespace": meta["namespace"],
                "ownerReferences": [owner],
            },
            "stringData": credentials,
        }
        with contextlib.suppress(Conflict):
            await self._kube.create(SECRETS, secret)

    async def _condition(
        self, resource: Resource, key: Key, good: bool, reason: str, message: str, **status: str
    ) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": "Succeeded",
            "status": str(good),
            "reason": reason,
            "message": message,
            "lastTransitionTime": now,
        }
        with contextlib.suppress(NotFound):
            await self._kube.merge(
                resource, key[1], key[0], {"status": {"conditions": [condition], **status}}, subresource="status"
            )

    async def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One call of Service Manager; once more where the token is not accepted any longer.

        Raises:
            Refusal: Service Manager's no.
            UnderWay: it does what was asked later.
        """
        data = (await self._kube.get(SECRETS, OPERAND_CREDENTIALS_SECRET, KYMA_NAMESPACE))["data"]
        known = {key: base64.b64decode(value).decode() for key, value in data.items()}
        for last in (False, True):
            headers = {"Authorization": f"Bearer {await self._current_token(known)}"}
            async with self._http.request(method, known["sm_url"] + path, json=body, headers=headers) as answer:
                if answer.status == 401 and not last:
                    self._token_ends = 0.0
                    continue
                if answer.headers.get("X-Cf-RouterError"):
                    raise Refusal("the route to Service Manager is away")
                said: dict[str, Any] = await answer.json()
                if answer.status == 202:
                    raise UnderWay(answer.headers["Location"])
                if answer.status >= 400 and not (method in ("DELETE", "GET") and answer.status in (404, 410)):
                    raise Refusal(said.get("description", str(answer.status)))
                return said
        raise AssertionError("the second try answers")

    async def _current_token(self, known: dict[str, str]) -> str:
        if time.monotonic() >= self._token_ends:
            form = {
                "grant_type": "client_credentials",
                "client_id": known["clientid"],
                "client_secret": known["clientsecret"],
            }
            async with self._http.post(known["tokenurl"] + known["tokenurlsuffix"], data=form) as answer:
                said = await answer.json()
            self._token = said.get("access_token", "")
            self._token_ends = time.monotonic() + float(said.get("expires_in", 0))
        return self._token


def _path(resource: Resource) -> str:
    return "/v1/service_bindings" if resource is SERVICE_BINDINGS else "/v1/service_instances"


@contextlib.asynccontextmanager
async def webhook_server(kube: Kube) -> Any:
    """Serve the webhooks on all addresses with the certificate that the manager made."""
    data = (await kube.get(SECRETS, WEBHOOK_CERT_SECRET, KYMA_NAMESPACE))["data"]
    app = web.Application(client_max_size=LARGEST_REVIEW)
    app.router.add_post("/{any:.*}", admit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", WEBHOOK_PORT, ssl_context=serving(data), reuse_address=True).start()
        yield
    finally:
        await runner.cleanup()


async def main(at_once: int) -> None:
    """Be alive whenever the operand's Deployment has a pod."""
    kube = await Kube.from_environment()
    async with aiohttp.ClientSession() as http:
        while True:
            if not await _has_pod(kube):
                await asyncio.sleep(0.1)
                continue
            try:
                async with webhook_server(kube):
                    print(json.dumps({"event": "operand alive"}), flush=True)
                    acting = asyncio.create_task(Operand(kube, http, at_once).run())
                    while await _has_pod(kube) and not acting.done():
                        await asyncio.sleep(0.1)
                    acting.cancel()
                    await asyncio.gather(acting, return_exceptions=True)
                    print(json.dumps({"event": "operand stopped"}), flush=True)
            except (KubeError, OSError) as error:
                print(json.dumps({"event": "not yet", "error": str(error)}), flush=True)
                await asyncio.sleep(0.2)


async def _has_pod(kube: Kube) -> bool:
    try:
        pods = (await kube.list(PODS, KYMA_NAMESPACE, labels=OPERAND_POD_SELECTOR)).items
    except KubeError:
        return False
    conditions = [c for pod in pods for c in (pod.get("status") or {}).get("conditions") or []]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-once", type=int, default=1, help="objects of a kind side by side; the real one: 1")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(asyncio.run(main(parser.parse_args().at_once)))
