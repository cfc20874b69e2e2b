"""The Kubernetes API as it is read: objects, lists in pages, and watches, on raw JSON."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final, Self

import aiohttp

from kube.answers import Object, Objects, event_of, metadata, objects_of
from kube.connections import CLUSTER, Connections
from kube.errors import NotFound, Silent, TooLong, Unavailable
from kube.request import Request
from kube.resources import NAMESPACES, Resource
from kube.transport import Transport

PAGE: Final = 500
"""Objects asked for in one page of a list (the size client-go uses)."""
PAGE_BYTES: Final = 2 * 2**20
"""Bytes taken of one page: some JSON needs more than twenty times as many once it is decoded."""
FEWER: Final = 4
"""A page that has more bytes is asked for again with a fourth of its objects."""
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata{suffix};g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Listing:
    """All objects of a list and the version from which a watch goes on."""

    items: list[Object]
    resource_version: str
    more: int = 0
    """How many objects the server says follow after these."""


class Reader:
    """What is read of one cluster's API, one method for each thing that is asked.

    Every method raises what kube.errors names; where one error means something special, its docstring says so.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._cluster = ""

    @classmethod
    async def from_environment(cls, context: str = "") -> Self:
        """The cluster that KUBECONFIG names, else the one this pod runs in, else ~/.kube/config.

        Args:
            context: of the kubeconfig; empty for its current one.

        Raises:
            ValueError: no usable configuration was found.
        """
        return cls(Transport(await Connections.from_environment(context)))

    @property
    def host(self) -> str:
        return self._transport.connections.host

    @property
    def astray(self) -> str:
        """Where the configuration leads by now, in words, if that is another cluster. This one is stayed with."""
        return self._transport.connections.astray

    async def close(self) -> None:
        await self._transport.connections.close()

    async def cluster_uid(self, *, again: bool = False) -> str:
        """Which cluster this is: the uid of its Namespace kube-system, which lives as long as the cluster.

        Read once, and `again` where somebody doubts it. A cluster restored from another one's etcd has the same.
        """
        if again or not self._cluster:
            self._cluster = str((await self.get(NAMESPACES, CLUSTER, metadata_only=True))["metadata"]["uid"])
            self._transport.connections.stay_with(self._cluster)
        return self._cluster

    async def answers(self) -> None:
        """Have the API server say that it is ready. A KubeError with status 401: it refuses our credentials."""
        await self._transport.probe()

    async def reach(self) -> None:
        """Raise Away within two seconds where the API server, which did not answer last time, still does not."""
        await self._transport.reach()

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Object:
        """One object; with `metadata_only` without its spec, status and data.

        Raises:
            NotFound: it is not there.
        """
        path, accept = resource.path(namespace, name), accepted(metadata_only)
        return await self._transport.ask(Request("get", resource, "GET", path, accept=accept))

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
        query, accept = {"limit": str(size)}, accepted(True, "List")
        body = await self._transport.ask(Request("list", resource, "GET", resource.path(), query, accept=accept))
        meta = metadata(body)
        more = meta.get("remainingItemCount")
        items = objects_of(body, resource)
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
        """The same, page by page with the list's version: memory grows neither with their number nor with their size.

        A page is bounded by its bytes. One that has more is asked for again with fewer objects, down to one, which
        etcd bounds; small ones grow again.
        """
        query = {"labelSelector": labels, "fieldSelector": fields}
        path, accept = resource.path(namespace), accepted(metadata_only, "List")
        limit = PAGE
        while True:
            page, most = {**query, "limit": str(limit)}, PAGE_BYTES if limit > 1 else None
            request = Request("list", resource, "GET", path, page, accept=accept, most=most)
            try:
                body, size = await self._transport.measured(request)
            except TooLong:
                limit = max(limit // FEWER, 1)
                continue
            meta, items = metadata(body), objects_of(body, resource)
            del body  # the page is the reader's, and gone before the next one is asked for
            yield items, str(meta.get("resourceVersion", ""))
            items = []
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]
            if size < PAGE_BYTES // FEWER:
                limit = min(limit * 2, PAGE)

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
    ) -> AsyncGenerator[Object, None]:
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
        path, accept = resource.path(namespace), accepted(metadata_only)
        request = Request("watch", resource, "GET", path, query, accept=accept, seconds=seconds + 30, silence=silence)
        doing = f"watch {resource.plural}"
        async with self._transport.send(request) as response:
            yield {"type": "OPENED"}
            buffer = b""
            try:
                async for chunk in response.content.iter_any():
                    *lines, buffer = (buffer + chunk).split(b"\n")
                    for line in lines:
                        yield event_of(line, doing)
            except aiohttp.SocketTimeoutError as error:
                raise Silent(f"{doing}: nothing was said for {silence:.0f} s") from error
            if buffer:
                raise Unavailable(f"{doing}: the connection ended in the middle of a line")


def accepted(metadata_only: bool, suffix: str = "") -> str:
    """The media type to ask for, of an object or, with the suffix "List", of a list."""
    return METADATA_ONLY.format(suffix=suffix) if metadata_only else "application/json"
