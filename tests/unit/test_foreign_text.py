"""Every field that a tenant may fill reaches people as text: of bounded length, on one line, without orders."""

import io
import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from structlog.testing import capture_logs

from activities.soft_delete import _parameter_secrets
from btpctl import show
from btpctl.check import Check, shown
from btpctl.overview import Overview
from kube.answers import Object, decoded
from kube.errors import NotFound
from kube.resources import SECRETS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from models.conditions import MAX_MESSAGE, Reason, status_after
from models.deletion_record import LONGEST_BECAUSE
from models.names import OPERAND_FINALIZER
from models.operators import OperatorRef
from models.text import code, plain
from operand.abandoned_report import AbandonedReport, as_abandoned
from operand.report_parts import KEY
from operand.service_objects import ServiceObject, named
from runtime.logs import _harmless

ORDERS = ["\x1b]52;c;aGk=\x07", "\x1b[2J", "[/foo]", "[link=http://x]y[/link]", "\u202e", "\r\n", "`", "![a](http://x)"]
TEXT = st.text(max_size=40) | st.sampled_from(ORDERS) | st.integers(1, 400_000).map(lambda size: "\x9b[31mx" * size)
NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?", fullmatch=True)
FREE = st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=5)
TIMES = st.none() | st.just("2026-11-25T18:00:00Z")
CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {"type": st.just("Succeeded") | TEXT, "status": TEXT},
        optional={"reason": st.sampled_from(["CreateFailed", "Blocked"]) | TEXT, "message": TEXT},
    ),
    max_size=3,
)
META = st.fixed_dictionaries(
    {"name": NAMES, "namespace": NAMES, "uid": st.uuids().map(str)},
    optional={
        "deletionTimestamp": TIMES,
        "finalizers": st.lists(TEXT | st.just(OPERAND_FINALIZER), max_size=6),
        "annotations": st.dictionaries(TEXT, TEXT, max_size=2),
    },
)
SHARED: dict[str, Any] = {
    "externalName": TEXT,
    "parameters": FREE,
    "parametersFrom": st.lists(
        st.fixed_dictionaries({}, optional={"secretKeyRef": st.fixed_dictionaries({"name": TEXT, "key": TEXT})}),
        max_size=3,
    ),
}
INSTANCES = st.fixed_dictionaries(
    {
        "metadata": META,
        "spec": st.fixed_dictionaries(
            {"serviceOfferingName": TEXT, "servicePlanName": TEXT},
            optional={**SHARED, "shared": st.booleans(), "watchParametersFromChanges": st.booleans()},
        ),
    },
    optional={"status": st.fixed_dictionaries({}, optional={"conditions": CONDITIONS, "instanceID": TEXT})},
)
BINDINGS = st.fixed_dictionaries(
    {
        "metadata": META,
        "spec": st.fixed_dictionaries(
            {"serviceInstanceName": TEXT},
            optional={**SHARED, "secretName": TEXT, "serviceInstanceNamespace": TEXT, "secretKey": TEXT},
        ),
    },
    optional={"status": st.fixed_dictionaries({}, optional={"conditions": CONDITIONS, "bindingID": TEXT})},
)
OBJECTS = st.tuples(st.just(SERVICE_INSTANCES), INSTANCES) | st.tuples(st.just(SERVICE_BINDINGS), BINDINGS)


def is_harmless(text: str) -> bool:
    return not any(unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" for each in text)


def printed(blocks: list[show.Block]) -> str:
    """What a terminal gets, without the colors that are ours."""
    out = io.StringIO()
    show.write(Console(file=out, force_terminal=True, width=200), blocks)
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).replace("\n", " ")


class Paper:
    """Takes what a report writes."""

    def __init__(self) -> None:
        self.written: list[Object] = []

    async def apply(self, _: Resource, obj: Object) -> Object:
        self.written.append(obj)
        return obj


@given(OBJECTS)
def test_what_is_kept_of_a_service_object_is_small_and_leads_nowhere_else(found: tuple[Resource, Object]) -> None:
    resource, obj = found
    digest = ServiceObject.digest(obj)
    assert len(digest.secret) <= 254 and len(digest.message) <= 300 and len(digest.kept_by) <= 500
    assert is_harmless(digest.message + digest.kept_by + named(resource, obj))
    assert not digest.instance or max(map(len, digest.instance)) <= 254
    for name in [digest.secret, *_parameter_secrets(obj["spec"])]:
        try:
            path = SECRETS.path("team-a", name)
        except NotFound:
            continue
        end = f"/{name}" if name else ""
        assert unquote(path) == f"/api/v1/namespaces/team-a/secrets{end}" and "/" not in name and "?" not in path


def test_a_list_with_an_object_that_is_nested_without_end_is_read_apart_from_what_lies_too_deep() -> None:
    text = 'a "[{ \\ }]" b'
    inner: Any = {"text": text, "rest": [[], {}, 1, None]}
    for deep in ("[" * 5_000 + "]" * 5_000, '{"]":[' * 5_000 + '"[",1' + "]}" * 5_000):
        body = json.dumps({"before": inner, "deep": "HERE", text: [inner]}).replace('"HERE"', deep)
        found = decoded(body.encode())
        assert (found["before"], found[text]) == (inner, [inner]) and found["deep"]
        assert decoded(body.encode()[:-1]) is None


async def test_a_report_into_which_somebody_wrote_what_cannot_be_read_is_kept_and_goes_on() -> None:
    report, nonsense = AbandonedReport(None, Paper(), OperatorRef(namespace="a", name="b", uid="c")), "[" * 100_000  # type: ignore[arg-type]
    report._read(f"{nonsense}\n1\nnull")
    assert report.total == 0 and nonsense in report._lines


@given(OBJECTS, TEXT)
async def test_what_is_reported_of_an_abandoned_object_is_small_and_shown_as_text(
    found: tuple[Resource, Object], because: str
) -> None:
    resource, obj = found
    paper = Paper()
    report = AbandonedReport(None, paper, OperatorRef(namespace="a", name="b", uid="c"), because)  # type: ignore[arg-type]
    with capture_logs():
        await report.add([(obj["metadata"]["uid"], as_abandoned(resource, obj))])
    [written] = paper.written
    assert len(written["data"][KEY]) < 3_000 and len(written["data"]["because"]) <= LONGEST_BECAUSE
    assert is_harmless(written["data"][KEY] + written["data"]["because"])
    [entry] = [each.model_dump() for each in report.first]
    assert is_harmless(printed(show.abandoned([entry])))


@given(TEXT, TEXT, TEXT)
def test_the_command_line_shows_whatever_is_said_as_text(one: str, two: str, three: str) -> None:
    overview = Overview(one, two, three, one, 1, True, one, two, three, one)
    entry = dict.fromkeys(("kind", "namespace", "name", "sap_id", "broker_message"), one)
    for blocks in (
        show.standings([overview]),
        [shown(Check("check", False, two))],
        show.abandoned([entry]),
        [show.sentence(f"asked again; {three}")],
    ):
        assert is_harmless(printed(blocks))


def test_markup_is_shown_and_not_obeyed() -> None:
    assert "[/foo] [red]x" in printed([show.sentence("[/foo] [red]x")])


@given(TEXT)
def test_the_condition_temporals_ui_and_the_log_get_one_line(text: str) -> None:
    status = status_after(None, Reason.HARD_DELETING, text, 1, datetime.now(UTC))
    assert status is not None
    message = status["conditions"][0]["message"]
    assert 0 < len(message) <= MAX_MESSAGE and is_harmless(message)
    span = code(text)
    assert is_harmless(span) and "`" not in span[1:-1] and (not span or (span[0], span[-1]) == ("`", "`"))
    line = _harmless(None, "info", {"event": text, "count": 3})
    assert is_harmless(str(line["event"])) and line["count"] == 3


@pytest.mark.parametrize("order", ORDERS)
def test_orders_lose_their_meaning_and_keep_their_letters(order: str) -> None:
    assert plain(f"a{order}b")[0] == "a" and plain(f"a{order}b")[-1] == "b"
