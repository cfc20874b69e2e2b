"""Whether a live object still says what we applied, as pure functions.

The API server records which manager set which fields (metadata.managedFields, KEP-555). Our entry tells what is
ours, and which lists are merged item by item: there every item has a key, in all others the list counts as one value.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from kube.answers import ReadObject
from kube.inheritance import is_shared
from models.names import APPLIED_HASH_ANNOTATION, FIELD_MANAGER

Path = tuple[str, ...]
"""Steps to a field, as metadata.managedFields has them: `f:spec`, `k:{"name":"manager"}`."""
BOOK_KEEPING: Final = ("managedFields", "resourceVersion", "generation")
"""Metadata that the API server moves by itself."""


def looks_drifted(wanted: ReadObject, live: ReadObject | None) -> bool:
    """Whether the object may have to be applied: it is missing, is not ours, or does not say what we want.

    Fields that we do not set are not looked at, nor are items that others put into a list with keys: they belong to
    the API server's defaults or to others. The digest tells of fields that we no longer set, which a comparison of what
    we do set cannot see. Whether an apply would change anything only the API server knows: it may spell a value in
    another way, and admission may rewrite it.
    """
    if live is None or live["metadata"].get("deletionTimestamp"):
        return True
    ours = our_fields(live)
    if not ours:
        return True  # restored from a backup or replaced: unless it is taken over, nobody removes it
    if is_shared(live):
        return True  # another manager of our name wrote it, and keeps fields that we do not set
    annotations = live["metadata"].get("annotations") or {}
    if annotations.get(APPLIED_HASH_ANNOTATION) != wanted["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]:
        return True
    return any(differing_fields(wanted, live))


def differing_fields(wanted: ReadObject, live: ReadObject) -> Iterator[Path]:
    """The fields that we want and the object does not have as we want them."""
    # Items of a list carry neither apiVersion nor kind: the list does.
    fields = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}
    return _differing(live, fields, our_fields(live), ())


def taken_fields(wanted: ReadObject, live: ReadObject) -> Iterator[tuple[str, str, datetime | None]]:
    """The fields that somebody took from us and gave another value, as people write them, each with who, and when.

    The name is that of a field manager; it is empty where nobody has the field now, because it was removed.
    """
    ours = our_fields(live)
    for path in differing_fields(wanted, live):
        if not _has(ours, path):
            entry = next((entry for entry in _others(live) if _has(entry.get("fieldsV1") or {}, path)), {})
            yield _readable(path), str(entry.get("manager", "")), _time_of(entry)


def applied_at(obj: ReadObject) -> datetime | None:
    """When our fields last changed by an apply of ours, by the API server's clock, which counts whole seconds."""
    return _time_of(_our_entry(obj))


def _time_of(entry: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(entry.get("time", "")).replace("Z", "+00:00"))
    except ValueError:
        return None


def changed_by_apply(before: ReadObject | None, after: ReadObject) -> bool:
    """Whether applying made a difference on the server: to what the object says, or to whether it is ours."""
    if before is None or before["metadata"]["uid"] != after["metadata"]["uid"] or not our_fields(before):
        return True
    return bool(_said(before) != _said(after))


def our_fields(obj: ReadObject) -> Mapping[str, Any]:
    """The fields that we applied and nobody took since, in the notation of metadata.managedFields."""
    fields: Mapping[str, Any] = _our_entry(obj).get("fieldsV1") or {}
    return fields


def _our_entry(obj: ReadObject) -> Mapping[str, Any]:
    for entry in obj["metadata"].get("managedFields") or []:
        if (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply") and not entry.get("subresource"):
            found: Mapping[str, Any] = entry
            return found
    return {}


def _others(obj: ReadObject) -> list[Mapping[str, Any]]:
    """What others set, the latest first."""
    entries = [entry for entry in obj["metadata"].get("managedFields") or [] if entry.get("manager") != FIELD_MANAGER]
    entries.sort(key=lambda entry: str(entry.get("time", "")), reverse=True)
    return entries


def _has(fields: Mapping[str, Any], path: Path) -> bool:
    """Whether the field, or any part of it, is among these."""
    for step in path:
        if step not in fields:
            return False
        fields = fields[step] or {}
    return True


def _readable(path: Path) -> str:
    """`spec.containers[manager].image` for the path of that field."""
    text = ""
    for step in path:
        kind, _, name = step.partition(":")
        text += f"[{','.join(map(str, json.loads(name).values()))}]" if kind == "k" else f".{name}"
    return text.removeprefix(".")


def _said(obj: ReadObject) -> ReadObject:
    """All of an object apart from its status and what the API server moves by itself."""
    meta = {key: value for key, value in obj["metadata"].items() if key not in BOOK_KEEPING}
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind", "status")}
    return rest | {"metadata": meta}


def _differing(live: Any, wanted: Any, ours: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if isinstance(wanted, Mapping):
        if not isinstance(live, Mapping):
            yield path
            return
        for key, value in wanted.items():
            step = f"f:{key}"
            if key in live:
                yield from _differing(live[key], value, ours.get(step) or {}, (*path, step))
            elif value not in (None, {}, []):  # how "nothing" may be spelled; the server leaves it out
                yield (*path, step)
    elif isinstance(wanted, list) and (keys := [step for step in ours if step.startswith("k:")]):
        items = [(item, step) for item in live or [] for step in keys if _has_key(item, json.loads(step[2:]))]
        if len(items) != len(wanted):
            yield path
            return
        for (item, step), value in zip(items, wanted, strict=True):
            yield from _differing(item, value, ours[step], (*path, step))
    elif isinstance(wanted, list):
        alike = isinstance(live, list) and len(live) == len(wanted)
        if not alike or any(any(_differing(a, b, {}, path)) for a, b in zip(live, wanted, strict=True)):
            yield path
    elif live != wanted:
        yield path


def _has_key(item: Any, key: Mapping[str, Any]) -> bool:
    return isinstance(item, Mapping) and all(item.get(name) == value for name, value in key.items())
