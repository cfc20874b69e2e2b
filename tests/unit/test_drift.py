from typing import Any

import pytest

from kube.drift import drifted
from operand.rendering import RenderError, applied_hash, prepare

RENDERED = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: "1", list: [1, 2]}
"""


def wanted() -> dict[str, Any]:
    (obj,) = prepare(RENDERED)
    return obj


def live(**data: object) -> dict[str, Any]:
    obj = wanted()
    obj["metadata"] = {
        **obj["metadata"],
        "uid": "1",
        "resourceVersion": "5",
        "labels": {**obj["metadata"]["labels"], "x": "y"},
    }
    obj["data"] = {**obj["data"], **data}
    return obj


def test_fields_that_others_own_are_not_drift() -> None:
    assert not drifted(wanted(), live(theirs="2"))


def test_a_missing_a_changed_and_a_going_object_are_drift() -> None:
    assert drifted(wanted(), None)
    assert drifted(wanted(), live(a="2"))
    assert drifted(wanted(), live(list=[1, 2, 3]))
    going = live()
    going["metadata"]["deletionTimestamp"] = "now"
    assert drifted(wanted(), going)


def test_an_object_that_would_be_rendered_with_fewer_fields_is_drift() -> None:
    before = live()
    (after,) = prepare(RENDERED.replace('a: "1", ', ""))
    assert drifted(after, before)


def test_items_of_a_list_carry_no_kind_and_are_not_drift_for_that() -> None:
    item = live()
    del item["kind"], item["apiVersion"]
    assert not drifted(wanted(), item)


def test_the_digest_of_a_secret_tells_nothing_of_its_values() -> None:
    one = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "canary"}}
    two = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "other"}}
    three = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"l": "other"}}
    assert applied_hash(one) == applied_hash(two) != applied_hash(three)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("", "renders nothing"),
        ("a: [", "expected"),
        ("- 1", "renders a list"),
        ("kind: ConfigMap\napiVersion: v1", "without a name"),
        ("kind: Job\napiVersion: batch/v1\nmetadata: {name: j}", "batch/v1 Job, which is not supported"),
    ],
)
def test_what_cannot_be_applied_is_said_in_one_sentence(output: str, says: str) -> None:
    with pytest.raises(RenderError, match=says):
        prepare(output)
