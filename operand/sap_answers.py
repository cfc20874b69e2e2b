"""Reads what SAP Service Manager answers: data of another, with bounds, never more of it than was asked for."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import aiohttp

from models.reclaim import digest_of
from models.text import plain

LARGEST_ANSWER: Final = 4 * 1024 * 1024
LONGEST_RETRY_AFTER: Final = 24 * 3600.0
"""Seconds; whoever asks for more is asked again earlier."""
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class ServiceManagerError(Exception):
    """Service Manager, or the way to it, said no. `str()` is one bounded sentence without values of the Secret."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that it asked to be left alone."""


class ServiceManagerRefused(ServiceManagerError):
    """It understood, and will not delete this object now: 400, 409, 422 and other 4xx."""


class ServiceManagerAway(ServiceManagerError):
    """It cannot be asked now: 401, 403, 429, 5xx, a route that is away, a redirect, a timeout, no JSON."""


@dataclass(frozen=True)
class SapObject:
    """What Service Manager says of an object."""

    id: str
    belongs: Mapping[str, frozenset[str]]
    """What it belongs to, by word: `cluster` (a digest), `namespace`, `name`; everything that it says of each."""
    platforms: frozenset[str]
    instance_id: str
    """Of a binding."""
    being_deleted: bool
    last_words: str
    """The description of a deletion that failed."""


@dataclass(frozen=True)
class Operation:
    """How far a deletion is that was accepted."""

    done: bool
    failure: str = ""
    """Why it failed; empty while it is under way or has succeeded."""


def is_id(text: str) -> bool:
    """Whether it is an id of Service Manager (a UUID): only such a one gets into a path."""
    return bool(_ID.fullmatch(text))


@dataclass(frozen=True)
class Answer:
    """What of an answer is of use."""

    status: int
    body: Mapping[str, Any]
    """Empty if it is no JSON object."""
    location: str
    router_error: str
    retry_after: float | None


async def read_answer(answer: aiohttp.ClientResponse) -> Answer:
    """Raises ValueError if it is too large, or good and no JSON object."""
    content = b""
    async for chunk in answer.content.iter_chunked(65_536):
        content += chunk
        if len(content) > LARGEST_ANSWER:
            answer.close()
            raise ValueError("too large")
    try:
        body = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        if answer.status in (200, 202):
            raise ValueError("no JSON object")
        body = {}
    return Answer(
        status=answer.status,
        body=body,
        location=answer.headers.get("Location", "")[:1000],
        router_error=plain(answer.headers.get("X-Cf-RouterError", ""), 100),
        retry_after=retry_after(answer.headers.get("Retry-After", ""), answer.headers.get("Date", "")),
    )


def retry_after(header: str, date: str = "") -> float | None:
    """Seconds, from a header that has seconds or a date; a date counts from the answer's own, so clocks may differ."""
    try:
        seconds = float(header)
    except ValueError:
        until = _moment(header)
        if until is None:
            return None
        seconds = (until - (_moment(date) or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if not math.isnan(seconds) else None


def _moment(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def object_of(body: Any) -> SapObject:
    """Raises ServiceManagerAway if it is no object of Service Manager."""
    if not isinstance(body, Mapping) or not isinstance(body.get("id"), str) or not is_id(body["id"]):
        raise ServiceManagerAway("the answer is not an object of Service Manager")
    labels, context, last = (_mapping(body.get(key)) for key in ("labels", "context", "last_operation"))

    def said(label: str, key: str) -> list[str]:
        values = labels.get(label)
        there = [str(value) for value in values] if isinstance(values, list) else []
        return [*there, *([str(context[key])] if context.get(key) else [])] if there else []

    clusters = (digest_of(each) for each in said("_clusterid", "clusterid"))
    deleting = last.get("type") == "delete"
    return SapObject(
        id=body["id"],
        belongs={
            "cluster": frozenset(clusters),
            "namespace": frozenset(said("_namespace", "namespace")),
            "name": frozenset(said("_k8sname", "")),
        },
        platforms=frozenset([str(context["platform"])] if context.get("platform") else []),
        instance_id=str(body.get("service_instance_id") or ""),
        being_deleted=deleting and last.get("state") in ("in progress", "pending"),
        last_words=failure_of(last) if deleting and last.get("state") == "failed" else "",
    )


def failure_of(operation: Mapping[str, Any]) -> str:
    """Why an operation failed, in Service Manager's words."""
    return plain(description_of(_mapping(operation.get("errors"))) or description_of(operation) or "no description")


def description_of(body: Mapping[str, Any]) -> str:
    """The description of an error, shortened; "" if there is none."""
    said = body.get("description")
    return plain(said) if isinstance(said, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
