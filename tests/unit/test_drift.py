from typing import Any

import pytest

from kube.drift import changed_by_apply, looks_drifted
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


def an_entry(fields: dict[str, Any], **other: str) -> dict[str, Any]:
    return {"manager": "btp-manager", "operation": "Apply", "fieldsV1": fields, **other}


def live(**data: object) -> dict[str, Any]:
    obj = wanted()
    obj["metadata"] = {
        **obj["metadata"],
        "uid": "1",
        "resourceVersion": "5",
        "managedFields": [an_entry({"f:data": {"f:a": {}, "f:list": {}}})],
        "labels": {**obj["metadata"]["labels"], "x": "y"},
    }
    obj["data"] = {**obj["data"], **data}
    return obj


def test_fields_that_others_own_are_not_drift() -> None:
    assert not looks_drifted(wanted(), live(theirs="2"))


def test_a_missing_a_changed_and_a_going_object_are_drift() -> None:
    assert looks_drifted(wanted(), None)
    assert looks_drifted(wanted(), live(a="2"))
    assert looks_drifted(wanted(), live(list=[1, 2, 3]))
    going = live()
    going["metadata"]["deletionTimestamp"] = "now"
    assert looks_drifted(wanted(), going)


def test_an_object_that_would_be_rendered_with_fewer_fields_is_drift() -> None:
    before = live()
    (after,) = prepare(RENDERED.replace('a: "1", ', ""))
    assert looks_drifted(after, before)


def test_items_of_a_list_carry_no_kind_and_are_not_drift_for_that() -> None:
    item = live()
    del item["kind"], item["apiVersion"]
    assert not looks_drifted(wanted(), item)


def test_an_object_that_is_not_ours_any_more_is_drift_and_applying_it_makes_a_difference() -> None:
    """A restore from a backup and a replace lose metadata.managedFields; removal deletes only what is ours."""
    nothing: dict[str, Any] = {}
    for entries in (
        [nothing],
        [an_entry({"f:data": {}}, manager="velero-server")],
        [an_entry({}, subresource="status")],
    ):
        lost = live()
        lost["metadata"]["managedFields"] = entries
        assert looks_drifted(wanted(), lost)
        assert changed_by_apply(lost, live())


KEYED = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  containers:
  - name: manager
    env: [{name: A, value: "1"}, {name: B, value: "2"}]
    args: [--one]
"""
OWN_ENV: dict[str, Any] = {'k:{"name":"A"}': {".": {}, "f:value": {}}, 'k:{"name":"B"}': {".": {}, "f:value": {}}}
OWN_CONTAINERS = {'k:{"name":"manager"}': {".": {}, "f:env": OWN_ENV, "f:args": {}}}


def deployment() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """As rendered, as it is in the cluster, and its live container."""
    (rendered,), (there,) = prepare(KEYED), prepare(KEYED)
    there["metadata"]["managedFields"] = [an_entry({"f:spec": {"f:containers": OWN_CONTAINERS}})]
    return rendered, there, there["spec"]["containers"][0]


def test_items_that_others_put_into_a_list_with_keys_are_not_drift() -> None:
    rendered, there, container = deployment()
    container["env"].insert(1, {"name": "HTTPS_PROXY", "value": "http://proxy"})
    there["spec"]["containers"].insert(0, {"name": "sidecar", "image": "theirs"})
    assert not looks_drifted(rendered, there)


def test_an_item_of_ours_that_is_gone_or_says_something_else_is_drift_and_so_is_a_longer_list_without_keys() -> None:
    rendered, there, container = deployment()
    container["env"].pop()
    assert looks_drifted(rendered, there)
    rendered, there, container = deployment()
    container["env"][1]["value"] = "3"
    assert looks_drifted(rendered, there)
    rendered, there, container = deployment()
    container["args"].append("--two")
    assert looks_drifted(rendered, there)


def test_what_the_server_keeps_book_of_is_no_change_and_what_the_object_says_is() -> None:
    after = live()
    after["metadata"] |= {
        "resourceVersion": "6",
        "generation": 2,
        "managedFields": [an_entry({"f:data": {}}, time="1")],
    }
    assert not changed_by_apply(live(), after | {"status": {"ready": 1}})
    assert changed_by_apply(live(), live(a="2"))
    assert changed_by_apply(None, live())


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
