import pytest

from kube.errors import Conflict, Expired, KubeError, NotFound, Refused, Unavailable, error_from

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
