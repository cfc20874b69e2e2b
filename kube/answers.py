"""Reading what was answered: whatever stands between us and the API server may answer anything."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from kube.errors import Unavailable, error_from
from kube.resources import Resource

Object = dict[str, Any]
Objects = list[Object]
ReadObject = Mapping[str, Any]
"""An object that is looked at and not changed."""
DEEPEST: Final = 200
"""Levels that are kept of a value with more than can be decoded: nothing that is looked at lies as deep."""
_STEP: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
"""What changes the depth, and texts, in which the same characters do not."""


def decoded(body: bytes) -> Any:
    """The JSON value; None if it is none.

    The API server takes ten thousand levels, Python's decoder a tenth of that. One object that somebody made so must
    not keep the list that it is in from being read.
    """
    try:
        try:
            return json.loads(body)
        except RecursionError:
            return json.loads(_flattened(body))
    except ValueError:
        return None


def _flattened(body: bytes) -> bytes:
    """The same text with `null` in place of whatever lies too deep."""
    kept, begin, depth = bytearray(), 0, 0
    for step in _STEP.finditer(body):
        if step[0] in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += body[begin : step.start()] + b"null"
        elif step[0] in b"]}":
            if depth == DEEPEST + 1:
                begin = step.end()
            depth -= 1
    return bytes(kept) + body[begin:]


def metadata(found: Any) -> Object:
    """The metadata of an object or a list; empty if it has none."""
    meta = found.get("metadata") if isinstance(found, dict) else None
    return meta if isinstance(meta, dict) else {}


def part(obj: Any, name: str) -> ReadObject:
    """A field of an object that is one itself, such as its spec; empty if it is none."""
    found = obj.get(name) if isinstance(obj, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def items(obj: Any, name: str) -> list[Any]:
    """A field of an object that is a list; empty if it is none."""
    found = obj.get(name) if isinstance(obj, Mapping) else None
    return found if isinstance(found, list) else []


def pod_spec(obj: Object) -> Object:
    """The spec of the pods that an object makes, such as a Deployment; empty if it makes none."""
    template = (obj.get("spec") or {}).get("template") or {}
    spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else {}


def is_object(found: Any) -> bool:
    """Whether it has the metadata that the API server gives to every object."""
    meta = metadata(found)
    return all(isinstance(meta.get(key), str) for key in ("name", "uid", "resourceVersion", "creationTimestamp"))


def objects_of(body: Object, resource: Resource) -> Objects:
    """The objects of a list.

    Raises:
        Unavailable: it is no list of objects.
    """
    items = body.get("items") or []
    if not isinstance(items, list) or not all(map(is_object, items)):
        raise Unavailable(f"list {resource.plural}: the answer is not a list of objects", status=200)
    return items


def event_of(line: bytes, doing: str) -> Object:
    """One line of a watch.

    Raises:
        Unavailable: it is no event, or has no object.
        KubeError: the event is an error, Expired for instance.
    """
    event = decoded(line)
    if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
        raise Unavailable(f"{doing}: the server sent a line that is no event")
    found = event["object"]
    if event.get("type") == "ERROR":
        code = found.get("code")
        raise error_from(code if isinstance(code, int) else 500, found, doing)
    if not (metadata(found) if event.get("type") == "BOOKMARK" else is_object(found)):
        raise Unavailable(f"{doing}: the server sent an event without an object")
    return event
