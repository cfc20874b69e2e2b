"""Makes fields that a manager of our name once set by Update ours, so that they go when we stop setting them.

Server-side apply removes a field that its manager no longer sends only if nobody else owns it, and an Update under the
same name counts as somebody else (KEP-555). Nothing about the object changes but who owns what.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kube.answers import ReadObject
from models.names import FIELD_MANAGER

Entry = Mapping[str, Any]
"""One of metadata.managedFields."""
APPLY: Final = "Apply"


def is_shared(obj: ReadObject) -> bool:
    """Whether an Update under our field manager's name owns fields of the object."""
    return any(_is_update(entry) for entry in _entries(obj))


def inheriting(obj: ReadObject) -> list[dict[str, Any]]:
    """The JSON patch by which our Apply owns what such Updates own; Conflict if the object is not as it was seen."""
    entries = _entries(obj)
    inherited = [entry for entry in entries if _is_update(entry)]
    latest = max(inherited, key=lambda entry: str(entry.get("time", "")))
    applied = next((entry for entry in entries if _is_ours(entry, APPLY)), {**latest, "operation": APPLY})
    fields: Mapping[str, Any] = applied.get("fieldsV1") or {}
    for entry in inherited:
        fields = _union(fields, entry.get("fieldsV1") or {})
    others = [entry for entry in entries if not _is_update(entry) and not _is_ours(entry, APPLY)]
    return [
        {"op": "replace", "path": "/metadata/managedFields", "value": [{**applied, "fieldsV1": fields}, *others]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
    ]


def _entries(obj: ReadObject) -> Sequence[Entry]:
    return obj["metadata"].get("managedFields") or []


def _is_update(entry: Entry) -> bool:
    return _is_ours(entry, "Update")


def _is_ours(entry: Entry, operation: str) -> bool:
    named = (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, operation)
    return named and not entry.get("subresource")


def _union(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of both, in the notation of metadata.managedFields: a tree whose leaves are empty."""
    both = {**one}
    for step, below in other.items():
        both[step] = _union(one.get(step) or {}, below or {})
    return both
