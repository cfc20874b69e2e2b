import datetime
import ssl
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from operand import pki

NOW = datetime.datetime.now(UTC)
NAMES = ["operand.kyma-system.svc", "operand.kyma-system"]
PEM = serialization.Encoding.PEM


def ages_ago(days: float) -> tuple[pki.Pair, bytes]:
    """What was made so many days ago."""
    return pki.new_serving(NAMES, NOW - timedelta(days=days))


def by_rsa(bits: int, names: list[str] = NAMES) -> tuple[pki.Pair, bytes]:
    """What another manager left: an RSA key, which signed itself and serves."""
    key = rsa.generate_private_key(65537, bits)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "theirs")])
    builder = pki._builder(name, name, key.public_key(), NOW)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(PEM)
    pem = key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return pki.Pair(certificate, pem), certificate


def test_what_is_made_is_usable_until_a_month_before_it_ends() -> None:
    serving, ca = pki.new_serving(NAMES, NOW)
    assert pki.bundle(serving, [ca], NAMES, NOW) == ca
    nearly = NOW + pki.LIFETIME - pki.RENEW_BEFORE
    assert pki.bundle(serving, [ca], NAMES, nearly - timedelta(seconds=1)) == ca
    assert pki.bundle(serving, [ca], NAMES, nearly + timedelta(seconds=1)) is None


def test_each_certificate_has_a_ca_of_its_own_and_nobody_keeps_its_key() -> None:
    (serving, ca), (_, other_ca) = pki.new_serving(NAMES, NOW), pki.new_serving(NAMES, NOW)
    assert ca != other_ca and b"PRIVATE" not in ca
    assert pki.bundle(serving, [other_ca], NAMES, NOW) is None
    key = serialization.load_pem_private_key(serving.key, None)
    authority = x509.load_pem_x509_certificate(ca)
    assert pki._raw(key.public_key()) != pki._raw(authority.public_key())


def test_a_certificate_for_other_names_is_not_usable() -> None:
    serving, ca = pki.new_serving(NAMES, NOW)
    assert pki.bundle(serving, [ca], [*NAMES, "third"], NOW) is None


def test_a_key_that_does_not_belong_to_the_certificate_and_garbage_are_not_usable() -> None:
    (serving, ca), (another, _) = pki.new_serving(NAMES, NOW), pki.new_serving(NAMES, NOW)
    broken = [pki.Pair(serving.certificate, another.key), pki.Pair(b"", b""), pki.Pair(b"canary", b"canary")]
    for pair in [*broken, pki.Pair(serving.certificate, b"x"), None]:
        assert pki.bundle(pair, [ca], NAMES, NOW) is None
    assert pki.bundle(serving, [serving.certificate], NAMES, NOW) is None  # no CA


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_what_else_stands_in_a_bundle_is_passed_over(junk: list[bytes]) -> None:
    serving, ca = pki.new_serving(NAMES, NOW)
    wrapped = [b"-----BEGIN CERTIFICATE-----\n" + each + b"\n-----END CERTIFICATE-----\n" for each in junk]
    assert pki.bundle(serving, [*junk, b"".join(wrapped) + ca], NAMES, NOW) == ca


def test_a_bundle_without_bound_is_not_read_to_its_end() -> None:
    serving, ca = pki.new_serving(NAMES, NOW)
    assert pki.bundle(serving, [b"\n" * pki.LARGEST_BUNDLE + ca], NAMES, NOW) is None


def test_the_predecessor_stays_trusted_for_a_day_and_no_longer() -> None:
    (_, old), (serving, new) = ages_ago(330), pki.new_serving(NAMES, NOW)
    both = pki.bundle(serving, [old, new], NAMES, NOW)
    assert both == new + old
    assert pki.bundle(serving, [both], NAMES, NOW + pki.OVERLAP / 2) == both
    assert pki.bundle(serving, [both], NAMES, NOW + pki.OVERLAP) == new
    (_, expired) = ages_ago(366)
    assert pki.bundle(serving, [expired, new], NAMES, NOW) == new


def test_rsa_that_another_manager_left_is_kept_unless_it_is_too_short() -> None:
    pair, ca = by_rsa(2048)
    assert pki.bundle(pair, [ca], NAMES, NOW) == ca
    weak, weak_ca = by_rsa(1024)
    assert pki.bundle(weak, [weak_ca], NAMES, NOW) is None
    serving, new = pki.new_serving(NAMES, NOW)
    assert pki.bundle(serving, [weak_ca, new], NAMES, NOW) == new


@pytest.mark.parametrize("age", [0.0, 100.0])
def test_a_tls_server_starts_with_them_and_its_clients_believe_it(tmp_path: Path, age: float) -> None:
    serving, ca = ages_ago(age)
    (_, other) = ages_ago(1)
    trusted = pki.bundle(serving, [other, ca], NAMES, NOW)
    assert trusted
    (tmp_path / "tls.crt").write_bytes(serving.certificate)
    (tmp_path / "tls.key").write_bytes(serving.key)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client_side = ssl.create_default_context(cadata=trusted.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname=NAMES[0])
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() == "TLSv1.3"


def test_a_pair_does_not_show_its_key() -> None:
    assert "PRIVATE" not in repr(pki.new_serving(NAMES, NOW)[0])
