"""Requests to the Kubernetes API on raw JSON, over the asyncio client of the `kubernetes` package.

The package brings configuration, authentication and TLS. Its typed models are left out: they cost far more CPU and
memory than the request itself, and this manager mostly hands objects through.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from prometheus_client import Counter

from kube.errors import Conflict, KubeError, NotFound, Silent, Unavailable, error_from
from kube.resources import Resource
from models.names import FIELD_MANAGER

Object = dict[str, Any]
Objects = list[Object]

PAGE: Final = 500
"""Objects asked for in one page of a list (the size client-go uses)."""
REQUEST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, sock_connect=5)
PAUSES: Final = (0.1, 0.5, 1.0)
"""Seconds before another try of the same request."""
LONGEST_WAIT: Final = 3.0
"""Seconds that a Retry-After may ask for to be waited right here; a longer one is left to whoever asked."""
TRIED_AGAIN: Final[Mapping[str, tuple[type[KubeError], ...]]] = {
    "get": (Unavailable,),
    "list": (Unavailable,),
    "apply": (Unavailable, Conflict),
    "patch": (Unavailable,),
    "delete": (Unavailable, Conflict),
    "deletecollection": (Conflict,),  # an operand's webhook that cannot be reached is not pressed
}
"""What is tried again, by verb: only requests of which a second one changes nothing."""
ANSWERED_BY_OBJECT: Final = ("get", "apply", "create", "patch")
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata{suffix};g=meta.k8s.io;v=v1"

REQUESTS: Final = Counter("btp_kube_requests", "Requests to the Kubernetes API", ("verb", "kind", "code"))
SECONDS: Final = Counter("btp_kube_request_seconds", "Time spent in requests, watches apart", ("verb",))


@dataclass(frozen=True)
class Listing:
    """All objects of a list and the version from which a watch goes on."""

    items: list[Object]
    resource_version: str
    more: int = 0
    """How many objects the server says follow after these."""


class Kube:
    """One cluster's API. Built once per process, used by everything in it."""

    def __init__(self, configuration: Any) -> None:
        configuration.client_side_validation = False
        self._api = aio_client.ApiClient(configuration)
        self._api.user_agent = "btp-manager"

    @classmethod
    async def from_environment(cls) -> "Kube":
        """The cluster that KUBECONFIG names, else the one this pod runs in, else ~/.kube/config.

        Raises:
            ValueError: no usable configuration was found.
        """
        configuration = aio_client.Configuration()
        _check_kubeconfig()
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
        try:
            if in_cluster:
                aio_config.load_incluster_config(client_configuration=configuration)
            else:
                await aio_config.load_kube_config(
                    config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
                )
        except Exception as error:  # the package raises whatever its YAML reader meets
            raise ValueError(f"no usable Kubernetes configuration (KUBECONFIG): {error}") from error
        return cls(configuration)

    @property
    def host(self) -> str:
        return str(self._api.configuration.host)

    async def close(self) -> None:
        await self._api.close()

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Object:
        """One object; with `metadata_only` without its spec, status and data.

        Raises:
            NotFound: it is not there.
        """
        accept = METADATA_ONLY.format(suffix="") if metadata_only else "application/json"
        return await self._json("get", resource, "GET", resource.path(namespace, name), accept=accept)

    async def find(
        self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Object | None:
        """One object, or None if it is not there."""
        try:
            return await self.get(resource, name, namespace, metadata_only=metadata_only)
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Listing:
        """All objects of a kind, read in pages. Paged objects are as they were when the first page was read."""
        listing = Listing([], "")
        async for page, version in self.pages(
            resource, namespace, labels=labels, fields=fields, metadata_only=metadata_only
        ):
            listing = Listing(listing.items + page, version)
        return listing

    async def first_page(self, resource: Resource, size: int) -> Listing:
        """A few objects' metadata and how many more there are: counts without reading them all."""
        query = {"limit": str(size)}
        accept = METADATA_ONLY.format(suffix="List")
        body = await self._json("list", resource, "GET", resource.path(), query=query, accept=accept)
        meta = _metadata(body)
        more = meta.get("remainingItemCount")
        items = _objects(body, resource)
        return Listing(items, str(meta.get("resourceVersion", "")), more if isinstance(more, int) else 0)

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[tuple[Objects, str]]:
        """The same, page by page with the list's version, so that memory does not grow with the number of objects."""
        query = {"limit": str(PAGE), "labelSelector": labels, "fieldSelector": fields}
        accept = METADATA_ONLY.format(suffix="List") if metadata_only else "application/json"
        while True:
            body = await self._json("list", resource, "GET", resource.path(namespace), query=query, accept=accept)
            meta = _metadata(body)
            yield _objects(body, resource), str(meta.get("resourceVersion", ""))
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def apply(self, resource: Resource, obj: Object) -> Object:
        """Server-side apply under our field manager, taking over fields that others set (KEP-555)."""
        meta = obj["metadata"]
        return await self._json(
            "apply",
            resource,
            "PATCH",
            resource.path(meta.get("namespace"), meta["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, resource: Resource, obj: Object) -> Object:
        """Make an object; Conflict if the name is taken."""
        path = resource.path(obj["metadata"].get("namespace"))
        return await self._json("create", resource, "POST", path, query={"fieldManager": FIELD_MANAGER}, body=obj)

    async def review(self, resource: Resource, question: Object) -> Object:
        """Ask the API server something that it answers at once and does not keep, such as an access review."""
        return await self._json("review", resource, "POST", resource.path(), body=question)

    async def merge(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch (RFC 7386) of an object or of its status."""
        return await self._json(
            "patch",
            resource,
            "PATCH",
            resource.path(namespace, name, subresource),
            query={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def json_patch(
        self, resource: Resource, name: str, namespace: str | None, operations: Sequence[Mapping[str, Any]]
    ) -> Object:
        """JSON patch (RFC 6902); Refused with status 422 if a `test` operation does not hold."""
        return await self._json(
            "patch",
            resource,
            "PATCH",
            resource.path(namespace, name),
            query={"fieldManager": FIELD_MANAGER},
            body=list(operations),
            content_type="application/json-patch+json",
        )

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str = "") -> bool:
        """Ask for an object's deletion; False if it was not there. With `uid`, only that very object."""
        options = {"preconditions": {"uid": uid}} if uid else {}
        try:
            await self._json("delete", resource, "DELETE", resource.path(namespace, name), body=options)
        except NotFound:
            return False
        return True

    async def delete_collection(self, resource: Resource, namespace: str | None, *, labels: str = "") -> None:
        """Ask for the deletion of every object there. It may be cut off part-way: repeat until none is left."""
        await self._json(
            "deletecollection",
            resource,
            "DELETE",
            resource.path(namespace),
            query={"labelSelector": labels},
            body={},
            timeout=aiohttp.ClientTimeout(total=70, sock_connect=5),  # the API server itself gives up after 60 s
        )

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        seconds: int,
        silence: float,
    ) -> AsyncIterator[Object]:
        """Events after `resource_version`, as the API sends them, bookmarks included, until the server ends the watch.

        The first is ours and has no object: OPENED, the server has accepted the watch.

        Args:
            seconds: after which the server ends the watch.
            silence: seconds without a byte after which the connection counts as dead (bookmarks come every minute).

        Raises:
            Expired: the version is too old; list again.
            Silent: nothing was said for too long; a new watch from the last version misses nothing.
            Unavailable: the connection broke, or what was said was no event.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        accept = METADATA_ONLY.format(suffix="") if metadata_only else "application/json"
        timeout = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=5, sock_read=silence)
        doing = f"watch {resource.plural}"
        async with self._request("watch", resource, "GET", resource.path(namespace), query, None, accept, timeout) as r:
            yield {"type": "OPENED"}
            buffer = b""
            try:
                async for chunk in r.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        yield _event(line, doing)
            except aiohttp.SocketTimeoutError as error:
                raise Silent(f"{doing}: nothing was said for {silence:.0f} s") from error
            if buffer:
                raise Unavailable(f"{doing}: the connection ended in the middle of a line")

    async def _json(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        accept: str = "application/json",
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = REQUEST_TIMEOUT,
    ) -> Object:
        """One request and its decoded answer; what passes by itself in a moment is tried again right here."""
        request = (verb, resource, method, path, query, body, accept, timeout, content_type)
        for pause in PAUSES if verb in TRIED_AGAIN else ():
            try:
                return await self._answer(*request)
            except (Unavailable, Conflict) as error:
                if not isinstance(error, TRIED_AGAIN[verb]) or (error.retry_after or 0) > LONGEST_WAIT:
                    raise
                await asyncio.sleep(max(error.retry_after or 0, random.uniform(pause / 2, pause)))
        return await self._answer(*request)

    async def _answer(self, verb: str, resource: Resource, *request: Any) -> Object:
        async with self._request(verb, resource, *request) as response:
            answer = await response.read()
        decoded = _decoded(answer)
        if not isinstance(decoded, dict) or (verb in ANSWERED_BY_OBJECT and not _is_object(decoded)):
            raise Unavailable(f"{verb} {resource.plural}: the answer is not an object of the API", status=200)
        return decoded

    @asynccontextmanager
    async def _request(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        accept: str,
        timeout: aiohttp.ClientTimeout,
        content_type: str = "application/json",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request, count it, and turn every way it can fail into a KubeError."""
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": self._api.user_agent}
        url = self.host + path
        if query := {key: value for key, value in (query or {}).items() if value}:
            url += "?" + urlencode(query)
        doing = f"{verb} {path.partition(f'/{resource.version}/')[2]}"
        code, began = "none", time.perf_counter()
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            answer = await self._api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
            response: aiohttp.ClientResponse = answer.response
            async with response:
                code = str(response.status)
                if response.status >= 400:
                    details = _decoded(await response.read())
                    raise error_from(response.status, details, doing, response.headers.get("Retry-After"))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{doing}: {type(error).__name__} {error}".strip()) from error
        finally:
            REQUESTS.labels(verb, resource.kind, code).inc()
            if verb != "watch":
                SECONDS.labels(verb).inc(time.perf_counter() - began)


def _check_kubeconfig() -> None:
    """Say so if it names no file: the package would print a line of its own and complain of a missing key."""
    files = os.environ.get("KUBECONFIG", "")
    if files and not any(Path(name).is_file() for name in files.split(os.pathsep)):
        raise ValueError(f"no usable Kubernetes configuration: there is no file {files} (KUBECONFIG)")


def _objects(body: Object, resource: Resource) -> Objects:
    """The objects of a list, each with a name: whatever is between us and the API server may answer anything."""
    items = body.get("items") or []
    if not isinstance(items, list) or not all(map(_is_object, items)):
        raise Unavailable(f"list {resource.plural}: the answer is not a list of objects", status=200)
    return items


def _event(line: bytes, doing: str) -> Object:
    event = _decoded(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise Unavailable(f"{doing}: the server sent a line that is no event")
    found = event["object"]
    if event.get("type") == "ERROR":
        code = found.get("code")
        raise error_from(code if isinstance(code, int) else 500, found, doing)
    if not (_metadata(found) if event.get("type") == "BOOKMARK" else _is_object(found)):
        raise Unavailable(f"{doing}: the server sent an event without an object")
    return event


def _is_object(found: Any) -> bool:
    """Whether it has the metadata that the API server gives to every object."""
    meta = _metadata(found)
    return all(isinstance(meta.get(key), str) for key in ("name", "uid", "resourceVersion", "creationTimestamp"))


def _metadata(found: Any) -> Object:
    meta = found.get("metadata") if isinstance(found, dict) else None
    return meta if isinstance(meta, dict) else {}


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
