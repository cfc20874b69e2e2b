"""Whether a live object still says what we applied, as a pure function."""

from collections.abc import Mapping
from typing import Any

from models.names import APPLIED_HASH_ANNOTATION


def drifted(wanted: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether the object has to be applied: it is missing, was rendered differently, or somebody changed our fields.

    Fields that we do not set are not looked at: they belong to the API server's defaults or to others. The digest
    tells of fields that we no longer set, which a comparison of what we do set cannot see.
    """
    if live is None or live["metadata"].get("deletionTimestamp"):
        return True
    annotations = live["metadata"].get("annotations") or {}
    if annotations.get(APPLIED_HASH_ANNOTATION) != wanted["metadata"]["annotations"][APPLIED_HASH_ANNOTATION]:
        return True
    # Items of a list carry neither apiVersion nor kind: the list does.
    return not _covers(live, {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")})


def _covers(live: Any, wanted: Any) -> bool:
    """Whether everything in `wanted` is in `live`; lists match item by item."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            # A null, and an empty map or list, is how "nothing" may be spelled; the server leaves it out.
            (key in live and _covers(live[key], value)) or (key not in live and value in (None, {}, []))
            for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(live, list)
            and len(live) == len(wanted)
            and all(_covers(a, b) for a, b in zip(live, wanted, strict=True))
        )
    return bool(live == wanted)
