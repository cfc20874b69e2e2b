import pytest

from kube.errors import (
    LONGEST_MESSAGE,
    LONGEST_RETRY_AFTER,
    Conflict,
    Expired,
    KubeError,
    NotFound,
    Refused,
    Unavailable,
    error_from,
    is_missing_right,
    is_unreachable_webhook,
    refuses_one_object,
)

EXPECTED = {
    **dict.fromkeys((400, 403, 405, 406, 413, 415, 422), Refused),
    404: NotFound,
    409: Conflict,
    410: Expired,
}


@pytest.mark.parametrize("status", [*range(400, 430), *range(500, 512)])
def test_every_status_is_an_error_that_says_whether_trying_again_helps(status: int) -> None:
    error = error_from(status, {"message": "no", "reason": "Because"}, "get pods")
    assert type(error) is EXPECTED.get(status, Unavailable)
    assert str(error) == f"get pods: no ({status})" and error.reason == "Because"


@pytest.mark.parametrize("body", [None, "text", [], {"message": None}])
def test_an_answer_that_is_no_status_is_still_an_error(body: object) -> None:
    assert isinstance(error_from(500, body, "get pods"), KubeError)


def test_how_long_to_wait_is_read_and_nonsense_is_not() -> None:
    assert error_from(429, None, "x", "2").retry_after == 2
    assert error_from(429, None, "x", "Wed, 21 Oct 2015 07:28:00 GMT").retry_after is None
    assert error_from(429, None, "x").retry_after is None
    assert error_from(429, None, "x", "nan").retry_after is None
    assert error_from(429, None, "x", "-1").retry_after == 0
    assert error_from(429, None, "x", "1e9").retry_after == LONGEST_RETRY_AFTER


def test_what_the_api_server_quotes_is_one_line_of_bounded_length() -> None:
    error = error_from(422, {"message": "\x1b[31mno\n\u202eyes" + "x" * 10_000}, "patch secrets")
    assert str(error).startswith("patch secrets: [31mno yesxxx") and str(error).endswith("… (422)")
    assert len(str(error)) < LONGEST_MESSAGE + 50


RBAC = 'services is forbidden: User "u" cannot list resource "services" in API group "" at the cluster scope'
QUOTA = 'services "s" is forbidden: exceeded quota: q'
DENIED = 'admission webhook "guard.example" denied the request: protected'
POLICY = "serviceinstances \"i\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
DOWN = 'Internal error occurred: failed calling webhook "v.kb.io": no endpoints available for service "w"'


@pytest.mark.parametrize(
    ("status", "message", "missing_right", "one_object", "unreachable"),
    [
        (403, RBAC, True, False, False),
        (403, QUOTA, False, True, False),
        (403, DENIED, False, True, False),
        (500, DENIED, False, True, False),  # a webhook may answer any status code
        (422, POLICY, False, True, False),
        (500, DOWN, False, False, True),
        (401, "Unauthorized", False, False, False),
        (503, "no leader", False, False, False),
    ],
)
def test_a_refusal_says_whether_it_concerns_one_object_or_all_alike(
    status: int, message: str, missing_right: bool, one_object: bool, unreachable: bool
) -> None:
    error = error_from(status, {"message": message}, "delete serviceinstances")
    found = (is_missing_right(error), refuses_one_object(error), is_unreachable_webhook(error))
    assert found == (missing_right, one_object, unreachable)
