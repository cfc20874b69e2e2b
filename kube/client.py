"""The Kubernetes API on raw JSON: one method for each thing that this manager asks of it."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from kube.answers import Object
from kube.errors import NotFound, TooLong
from kube.reader import Reader, accepted
from kube.request import Request
from kube.resources import Resource
from models.names import FIELD_MANAGER

NOT_NEEDED: Final = 64 * 2**10
"""Bytes taken of an answer in which nobody is interested: so few are read to keep the connection."""
AS_OURS: Final = {"fieldManager": FIELD_MANAGER}
Allowed = Callable[[], bool] | None


class Deletion(Enum):
    """How far the deletion of one object is that was asked for."""

    ABSENT = "it was not there"
    ACCEPTED = "it goes, or has gone"
    DONE = "it is gone"


class Kube(Reader):
    """One cluster's API, read and written. Built once per process, used by everything in it."""

    async def apply(self, resource: Resource, obj: Object, *, allowed: Allowed = None) -> Object:
        """Server-side apply under our field manager, taking over fields that others set (KEP-555).

        `allowed`, here and below, is asked right before the request is sent, retries included.

        Raises:
            Stale: it said no, so nothing was sent.
        """
        return await self._apply("apply", resource, obj, AS_OURS, allowed)

    async def rehearse(self, resource: Resource, obj: Object, *, patience: int = 0) -> Object:
        """What an apply would answer, by a dry run: it goes through admission and changes nothing.

        Args:
            patience: seconds after which the API server gives up, admission included; 0 for its own default.
        """
        timeout = f"{patience}s" if patience else ""
        return await self._apply("dry-run", resource, obj, {**AS_OURS, "dryRun": "All", "timeout": timeout})

    async def _apply(
        self, verb: str, resource: Resource, obj: Object, query: Mapping[str, str], allowed: Allowed = None
    ) -> Object:
        path = resource.path(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        how = "application/apply-patch+yaml"
        query = {**query, "force": "true"}
        return await self._transport.ask(
            Request(verb, resource, "PATCH", path, query, obj, content_type=how, allowed=allowed)
        )

    async def create(self, resource: Resource, obj: Object) -> Object:
        """Make an object; Conflict if the name is taken."""
        path = resource.path(obj["metadata"].get("namespace"))
        return await self._transport.ask(Request("create", resource, "POST", path, AS_OURS, obj))

    async def review(self, resource: Resource, question: Object) -> Object:
        """Ask the API server something that it answers at once and does not keep, such as an access review."""
        return await self._transport.ask(Request("review", resource, "POST", resource.path(), body=question))

    async def merge(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        patch: Mapping[str, Any],
        subresource: str | None = None,
    ) -> Object:
        """JSON merge patch (RFC 7386) of an object or of its status."""
        path, how = resource.path(namespace, name, subresource), "application/merge-patch+json"
        return await self._transport.ask(Request("patch", resource, "PATCH", path, AS_OURS, patch, content_type=how))

    async def json_patch(
        self,
        resource: Resource,
        name: str,
        namespace: str | None,
        operations: Sequence[Mapping[str, Any]],
        *,
        allowed: Allowed = None,
    ) -> Object:
        """JSON patch (RFC 6902); Refused with status 422 if a `test` operation does not hold. Returns the metadata."""
        path, how = resource.path(namespace, name), "application/json-patch+json"
        accept, body = accepted(True), [*operations]
        return await self._transport.ask(
            Request("patch", resource, "PATCH", path, AS_OURS, body, accept, how, allowed=allowed)
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str = "",
        version: str = "",
        allowed: Allowed = None,
    ) -> Deletion:
        """Ask for an object's deletion, and say how far that is.

        With `uid`, only that very object; with `version`, only as it was seen: else Conflict.
        """
        seen = {key: value for key, value in (("uid", uid), ("resourceVersion", version)) if value}
        options = {"preconditions": seen} if seen else {}
        try:
            path, accept = resource.path(namespace, name), accepted(True)  # the answer is the object as it was
            request = Request("delete", resource, "DELETE", path, body=options, accept=accept, allowed=allowed)
            answer = await self._transport.ask(request)
        except NotFound:
            return Deletion.ABSENT
        # Of what went at once there is no object any more, only the outcome (metav1.Status); a few kinds show it as
        # it was, and have to be looked at again.
        return Deletion.DONE if answer.get("kind") == "Status" else Deletion.ACCEPTED

    async def delete_collection(
        self, resource: Resource, namespace: str | None, *, fields: str = "", allowed: Allowed = None
    ) -> None:
        """Ask for the deletion of every object there. It may be cut off part-way: repeat until none is left.

        The answer is a list of all of them, whole: it comes when all were asked for, and is not read.
        """
        path, query = resource.path(namespace), {"fieldSelector": fields}
        seconds = 70  # the server's own limit is 60 s
        request = Request(
            "deletecollection", resource, "DELETE", path, query, {}, seconds=seconds, allowed=allowed, most=NOT_NEEDED
        )
        with contextlib.suppress(TooLong):
            await self._transport.ask(request)
