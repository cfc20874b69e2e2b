"""Every key of the Go manager's ConfigMap becomes a Helm value, or has a reason why it does not."""

import pytest

from btpctl.go_settings import KNOWN, helm_values, told, translate


@pytest.mark.parametrize(
    ("key", "value", "path", "becomes"),
    [
        ("ReadyTimeout", "1m", "settings.BTP_READY_TIMEOUT", "1m"),
        ("HardDeleteTimeout", "1h30m0s", "settings.BTP_HARD_DELETE_TIMEOUT", "1h30m"),
        ("DeleteRequestTimeout", "90s", "settings.BTP_DELETE_REQUEST_TIMEOUT", "1m30s"),
        ("ReadyStateRequeueInterval", "1h", "settings.BTP_RESYNC_INTERVAL", "1h"),
        ("EnableLimitedCache", "false", "operand.manager.enable_limited_cache", False),
    ],
)
def test_what_has_an_equal_becomes_a_helm_value(key: str, value: str, path: str, becomes: object) -> None:
    (translation,) = translate({key: value})
    assert (translation.becomes, translation.as_value, translation.why) == (path, becomes, "")
    first, *rest = path.split(".")
    inner = {".".join(rest): becomes} if len(rest) == 1 else {rest[0]: {rest[1]: becomes}}
    assert helm_values([translation]) == {first: inner}


def test_each_of_the_22_keys_becomes_something_or_says_why_not() -> None:
    assert len(KNOWN) == 22
    translations = translate(dict.fromkeys(KNOWN, "17m"))
    assert {each.key for each in translations} == KNOWN
    assert [each.key for each in translations if bool(each.becomes) == bool(each.why)] == []


@pytest.mark.parametrize(
    ("key", "value", "why", "in_the_way"),
    [
        ("ReadyTimeout", "5m", "as here by default", False),
        ("EnableLimitedCache", "true", "as here by default", False),
        ("EnableLimitedCache", "maybe", "neither true nor false", True),
        ("HardDeleteTimeout", "soon", "not a duration", False),
        ("DeleteRequestTimeout", "5s", "shorter than 10s", True),
        ("HardDeleteTimeout", "1000h", "longer than 30 days", True),
        ("ChartNamespace", "kyma-system", "the same here", False),
        ("ChartNamespace", "elsewhere", "fixed here: kyma-system", True),
        ("RsaKeyBits", "4096", "ECDSA", False),
        ("Unheard", "of", "does not know it either", False),
    ],
)
def test_what_has_no_equal_says_why_and_whether_it_stands_in_the_way(
    key: str, value: str, why: str, in_the_way: bool
) -> None:
    (translation,) = translate({key: value})
    assert why in translation.why and translation.becomes == ""
    assert translation.stands_in_the_way is in_the_way


def test_flags_of_its_deployment_count_where_the_configmap_is_silent() -> None:
    container = {"args": ["--leader-elect", "--ready-timeout=2m", "--hard-delete-timeout=1h", "--zap-devel=true"]}
    deployment = {"spec": {"template": {"spec": {"containers": [container]}}}}
    assert told({"data": {"ReadyTimeout": "3m"}}, deployment) == {"HardDeleteTimeout": "1h", "ReadyTimeout": "3m"}
    assert told(None, None) == {}


def test_text_of_others_is_one_short_line() -> None:
    (translation,) = translate({"ReadyTimeout\n": "x" * 10_000 + "\x1b[31m"})
    assert "\n" not in translation.key and len(translation.value) <= 200
