import base64

from hypothesis import given
from hypothesis import strategies as st

from localcluster.client import CREDENTIALS
from models.conditions import Reason
from models.credentials import REQUIRED_KEYS, verdict
from operand.credentials import Credentials
from tests.cluster import encoded


def test_a_complete_secret_is_approved() -> None:
    assert verdict({"data": encoded(CREDENTIALS)}) is None


def test_a_client_certificate_stands_for_the_client_secret() -> None:
    certificate = {"tls.crt": "-----BEGIN\n", "tls.key": "-----BEGIN\n"}
    without = {key: value for key, value in CREDENTIALS.items() if key != "clientsecret"} | certificate
    assert verdict({"data": encoded(without)}) is None
    assert verdict({"data": encoded(without | {"clientsecret": ""})}) is None
    for key in certificate:
        half = {name: value for name, value in without.items() if name != key}
        finding = verdict({"data": encoded(half)})
        assert finding is not None and finding[1].endswith(
            "missing keys: clientsecret; tls.crt, tls.key stand for clientsecret only together"
        )


def test_an_absent_secret_is_missing() -> None:
    finding = verdict(None)
    assert finding is not None and finding[0] is Reason.MISSING_SECRET


@given(st.sets(st.sampled_from(REQUIRED_KEYS)), st.sets(st.sampled_from(REQUIRED_KEYS)))
def test_every_missing_key_and_every_empty_value_is_named_and_no_other(missing: set[str], empty: set[str]) -> None:
    values = {key: "" if key in empty else f"value-of-{key}" for key in REQUIRED_KEYS if key not in missing}
    finding = verdict({"data": encoded(values)})
    if not missing and not empty:
        assert finding is None
        return
    assert finding is not None and finding[0] is Reason.INVALID_SECRET
    named = finding[1].split(": ", 1)[1]
    assert {key for key in REQUIRED_KEYS if key in named} == missing | empty
    assert "value-of" not in finding[1]


@given(st.dictionaries(st.sampled_from(REQUIRED_KEYS), st.binary(max_size=20) | st.text(max_size=20) | st.none()))
def test_whatever_the_secret_holds_there_is_a_verdict_and_never_an_error(data: dict[str, object]) -> None:
    as_stored = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes) else value for key, value in data.items()
    }
    verdict({"data": as_stored})


def test_a_value_that_is_no_text_is_named_and_not_quoted() -> None:
    data = encoded(CREDENTIALS) | {"tokenurl": base64.b64encode(b"\xff\x00canary").decode()}
    finding = verdict({"data": data})
    assert finding is not None and "tokenurl" in finding[1] and "canary" not in finding[1]


def test_only_white_space_is_an_empty_value() -> None:
    finding = verdict({"data": encoded(CREDENTIALS | {"clientid": " \n"})})
    assert finding is not None and "empty values: clientid" in finding[1]


def test_messages_of_others_are_scrubbed_of_every_value_plain_or_encoded() -> None:
    data = encoded(CREDENTIALS | {"tls.key": "-----BEGIN canary-----"})
    credentials = Credentials({"data": data})
    text = credentials.scrub(f"cannot parse {CREDENTIALS['clientsecret']} nor {data['tls.key']}; cluster stays")
    assert text == "cannot parse *** nor ***; cluster stays"


def test_the_cluster_id_does_not_go_into_the_operands_secret_and_further_keys_do() -> None:
    values = Credentials({"data": encoded(CREDENTIALS | {"tls.crt": "x" * 5, "credentials_namespace": "elsewhere"})})
    chart = values.values()
    assert chart["cluster"]["id"] == CREDENTIALS["cluster_id"]
    assert chart["manager"]["management_namespace"] == "elsewhere"
    assert set(chart["manager"]["secret"]["data"]) == {"clientid", "clientsecret", "sm_url", "tokenurl", "tls.crt"}
