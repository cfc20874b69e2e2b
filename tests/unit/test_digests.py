from typing import Any

from models.conditions import ready_condition
from models.names import FINALIZER
from models.operators import Operator
from trigger.digests import ChartDigest, OperatorDigest, ReportDigest

OURS = {
    "manager": "btp-manager",
    "operation": "Apply",
    "time": "2026-01-01T00:00:00Z",
    "fieldsV1": {"f:data": {"f:a": {}}},
}


def obj(*entries: dict[str, Any], available: str = "", **meta: object) -> dict[str, Any]:
    conditions = [{"type": "Available", "status": available}] if available else []
    return {
        "metadata": {"name": "o", "managedFields": list(entries), **meta},
        "status": {"conditions": conditions},
    }


def news(before: dict[str, Any] | None, after: dict[str, Any]) -> bool:
    return ChartDigest.of(after).is_news_after(ChartDigest.of(before) if before else None)


def test_our_own_writes_are_no_news() -> None:
    later = OURS | {"time": "2026-01-01T00:00:05Z", "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}}}
    assert not news(None, obj(OURS))
    assert not news(obj(OURS), obj(later))


def test_a_field_of_ours_that_somebody_took_or_removed_is_news() -> None:
    assert news(obj(OURS), obj(OURS | {"fieldsV1": {"f:data": {}}}))
    assert news(obj(OURS), obj({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:a": {}}}}))


def test_status_and_what_others_add_are_no_news() -> None:
    status = {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}}
    theirs = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {}}}}
    assert not news(obj(OURS), obj(OURS, status, theirs))


def test_availability_lost_or_back_and_a_deletion_are_news() -> None:
    assert news(obj(OURS, available="True"), obj(OURS, available="False"))
    assert news(obj(OURS, available="False"), obj(OURS, available="True"))
    assert news(obj(OURS), obj(OURS, deletionTimestamp="now"))


def test_an_object_that_only_carries_our_label_is_never_news() -> None:
    theirs = {"manager": "kubectl", "operation": "Update", "time": "t", "fieldsV1": {"f:data": {}}}
    assert not news(None, obj(theirs))
    assert not news(obj(theirs), obj(theirs | {"time": "u"}))


def test_a_report_that_somebody_edited_names_at_least_one_object_and_none_that_reclaim_tries_again() -> None:
    def report(count: str) -> dict[str, Any]:
        counted = ("operator.kyma-project.io/abandoned-objects", "operator.kyma-project.io/reclaim-pending-objects")
        return {"metadata": {"name": "r", "annotations": dict.fromkeys(counted, count)}}

    assert ReportDigest.of(report("12")) == ReportDigest(objects=12, pending=12)
    for edited in (report("many"), report("-1"), report("\u0661"), report("9" * 400), {"metadata": {"name": "r"}}):
        assert ReportDigest.of(edited) == ReportDigest(objects=1, pending=0)


def test_a_status_write_on_a_btpoperator_changes_nothing_of_its_digest() -> None:
    def operator(**more: object) -> OperatorDigest:
        meta = {
            "name": "o",
            "namespace": "n",
            "uid": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "resourceVersion": "1",
        }
        return OperatorDigest.of({"metadata": {**meta, **more}})

    claimed = {"finalizers": ["operator.kyma-project.io/btp-manager"]}
    assert operator() == operator(resourceVersion="2", finalizers=["example.com/theirs"])
    assert operator(**claimed).is_only_claimed_after(operator())
    assert not operator().is_only_claimed_after(operator(**claimed))
    assert not operator(labels={"a": "b"}, **claimed).is_only_claimed_after(operator())
    assert operator() != operator(labels={"a": "b"})
    assert operator() != operator(deletionTimestamp="now")
    assert operator() != operator(uid="2")


def test_what_is_kept_of_a_btpoperator_does_not_grow_with_what_others_write_into_it() -> None:
    names = [*(f"example.com/{number}-{'x' * 300}" for number in range(1_000)), FINALIZER]
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "R" * 1_024,
        "message": "m" * 32_768,
        "observedGeneration": 3,
        "lastTransitionTime": f"2026-01-01T00:00:00.{'0' * 500_000}Z",
        "more": "y" * 100_000,
    }
    theirs = {**condition, "type": "Theirs"}
    deletion = {"began": "2026-01-01T00:00:00Z", "hardDeleteEnds": "2026-01-01T00:20:00Z", "more": "z" * 100_000}
    obj = {
        "metadata": {
            "name": "n" * 253,
            "namespace": "s" * 63,
            "uid": "1" * 36,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": names,
            "annotations": {"a": "b" * 200_000},
            "labels": {f"l{number}": "v" * 63 for number in range(5_000)},
        },
        "status": {"state": "Ready", "conditions": [theirs, condition], "deletion": deletion, "more": "u" * 100_000},
    }
    operator = Operator.from_object(obj)
    assert len(operator.model_dump_json()) < 6_000
    assert (operator.holds_finalizer, operator.finalizers) == (True, 1_001)
    assert operator.deletion and operator.deletion.hard_delete_ends.minute == 20
    assert ready_condition(operator.status)["observedGeneration"] == 3
    digest = OperatorDigest.of(obj)
    assert len(repr(digest)) < 2_000
    assert (digest.state, digest.reason, digest.operator.holds_finalizer) == ("Ready", "Unknown", True)
