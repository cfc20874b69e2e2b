import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.client import CREDENTIALS
from models.conditions import Reason
from models.credentials import REQUIRED_KEYS, verdict
from operand import pki
from operand.credentials import Credentials
from tests.cluster import encoded


def test_a_complete_secret_is_approved() -> None:
    assert verdict({"data": encoded(CREDENTIALS)}) is None


def test_a_client_certificate_stands_for_the_client_secret() -> None:
    pair, _ = pki.new_serving(["a"], datetime.now(UTC))
    certificate = {"tls.crt": pair.certificate.decode(), "tls.key": pair.key.decode()}
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
    values = {key: "" if key in empty else f"https://value-of-{key}" for key in REQUIRED_KEYS if key not in missing}
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


@pytest.mark.parametrize("key", ["sm_url", "tokenurl"])
@pytest.mark.parametrize(
    "url",
    [
        "service-manager.example",
        "ftp://a.example",
        "https://",
        "https://a b.example",
        "https://a.example/?x=1",
        "https://a.example:port",
        "https://a.example:99999",
        "https://[::1",
        "//a.example",
        "https://u:p@a.example",
    ],
)
def test_a_url_that_the_operand_cannot_call_is_named_and_not_quoted(key: str, url: str) -> None:
    finding = verdict({"data": encoded(CREDENTIALS | {key: url})})
    assert finding is not None and finding[0] is Reason.INVALID_SECRET
    assert f"values that the operand cannot use: {key} (not a URL" in finding[1] and url not in finding[1]


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://127.0.0.1:8080", "https://a.example/base/", "https://[::1]:1"]
)
def test_a_url_that_the_operand_can_call_is_approved(url: str) -> None:
    assert verdict({"data": encoded(CREDENTIALS | {"sm_url": url, "tokenurl": f"{url}\n"})}) is None


@pytest.mark.parametrize("key", ["sm_url", "tokenurl"])
def test_a_url_of_http_is_refused_but_where_tests_allow_it(key: str) -> None:
    secret = {"data": encoded(CREDENTIALS | {key: "http://a.example"})}
    finding = verdict(secret)
    assert finding is not None and finding[0] is Reason.INVALID_SECRET
    assert f"{key} (not a URL of https: by http the client secret can be read on the way)" in finding[1]
    assert verdict(secret, any_address=True) is None


@pytest.mark.parametrize("namespace", ["../secrets/x?", "Upper", "a.b", "-a", "a" * 64, "a/b"])
def test_a_credentials_namespace_that_cannot_be_one_is_named(namespace: str) -> None:
    finding = verdict({"data": encoded(CREDENTIALS | {"credentials_namespace": namespace})})
    assert finding is not None and "credentials_namespace (not the name of a namespace)" in finding[1]
    assert verdict({"data": encoded(CREDENTIALS | {"credentials_namespace": "1-a\n"})}) is None


def test_a_cluster_id_that_ends_the_operands_queries_is_named() -> None:
    finding = verdict({"data": encoded(CREDENTIALS | {"cluster_id": "a' or name eq 'b"})})
    assert finding is not None and "cluster_id (has a quotation mark" in finding[1]


def test_a_certificate_without_its_own_private_key_is_named_where_it_stands_for_the_client_secret() -> None:
    (one, _), (other, _) = (pki.new_serving(["a"], datetime.now(UTC)) for _ in range(2))
    without = {key: value for key, value in CREDENTIALS.items() if key != "clientsecret"}
    for certificate, key in ((one.certificate, other.key), (b"junk", one.key), (one.certificate, b"junk")):
        values = {"tls.crt": certificate.decode(), "tls.key": key.decode()}
        finding = verdict({"data": encoded(without | values)})
        assert finding is not None and "tls.crt, tls.key (no certificate" in finding[1]
        assert verdict({"data": encoded(CREDENTIALS | values)}) is None  # not used


def test_values_are_handed_on_as_they_were_judged_and_further_ones_as_they_are() -> None:
    values = {"clientid": "id\n", "sm_url": " https://a.example\r\n", "tls.crt": "-----BEGIN\n"}
    handed_on = Credentials({"data": encoded(CREDENTIALS | values)}).values()["manager"]["secret"]["data"]
    assert base64.b64decode(handed_on["clientid"]) == b"id"
    assert base64.b64decode(handed_on["sm_url"]) == b"https://a.example"
    assert base64.b64decode(handed_on["tls.crt"]) == b"-----BEGIN\n"


def test_only_white_space_is_an_empty_value() -> None:
    finding = verdict({"data": encoded(CREDENTIALS | {"clientid": " \n"})})
    assert finding is not None and "empty values: clientid" in finding[1]


def test_a_line_of_a_key_and_a_value_in_quotes_are_scrubbed_too() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAo\n-----END KEY-----\n"
    quoted = 'with "quotes"\tand a tab'
    data = encoded({**CREDENTIALS, "tls.key": key, "clientsecret": quoted})
    credentials = Credentials({"data": data})
    said = f'bad line "BAQEFAASCBKcwggSjAgEAAo"; unexpected {json.dumps(key)} and {json.dumps(quoted)}'
    told = credentials.scrub(said)
    assert "BAQEFAASCBKcwggSjAgEAAo" not in told and "MIIEvQIBADANBgkqhkiG9w0" not in told and "quotes" not in told


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
