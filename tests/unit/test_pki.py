import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from operand import pki

NOW = datetime.now(UTC)
NAMES = ["operand.kyma-system.svc", "operand.kyma-system"]


def test_what_is_made_is_usable_until_a_month_before_it_ends() -> None:
    ca = pki.new_ca(NOW)
    serving = pki.new_serving(ca, NAMES, NOW)
    assert pki.usable_ca(ca, NOW) and pki.usable_serving(serving, ca, NAMES, NOW)
    nearly = NOW + pki.SERVING_LIFETIME - pki.RENEW_BEFORE + timedelta(seconds=1)
    assert pki.usable_ca(ca, nearly) and not pki.usable_serving(serving, ca, NAMES, nearly)
    assert not pki.usable_ca(ca, NOW + pki.CA_LIFETIME - pki.RENEW_BEFORE + timedelta(seconds=1))


def test_a_serving_certificate_of_another_ca_or_for_other_names_is_not_usable() -> None:
    ca, other = pki.new_ca(NOW), pki.new_ca(NOW)
    serving = pki.new_serving(ca, NAMES, NOW)
    assert not pki.usable_serving(serving, other, NAMES, NOW)
    assert not pki.usable_serving(serving, ca, [*NAMES, "third"], NOW)


def test_a_key_that_does_not_belong_to_the_certificate_and_garbage_are_not_usable() -> None:
    ca = pki.new_ca(NOW)
    mixed = pki.Pair(ca.certificate, pki.new_ca(NOW).key)
    assert not pki.usable_ca(mixed, NOW)
    for garbage in (pki.Pair(b"", b""), pki.Pair(b"canary", b"canary"), pki.Pair(ca.certificate, b"x"), None):
        assert not pki.usable_ca(garbage, NOW)
        assert not pki.usable_serving(garbage, ca, NAMES, NOW)


def test_a_serving_certificate_is_no_ca() -> None:
    assert not pki.usable_ca(pki.new_serving(pki.new_ca(NOW), NAMES, NOW), NOW)


def test_an_rsa_ca_that_another_manager_left_is_kept_and_can_sign() -> None:
    ours = pki.new_ca(NOW)
    key = rsa.generate_private_key(65537, 2048)
    template = x509.load_pem_x509_certificate(ours.certificate)
    builder = pki._builder(template.subject, template.issuer, key.public_key(), NOW, pki.CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    ca = pki.Pair(certificate.public_bytes(serialization.Encoding.PEM), pem)
    assert pki.usable_ca(ca, NOW)
    assert pki.usable_serving(pki.new_serving(ca, NAMES, NOW), ca, NAMES, NOW)


def test_a_renewed_ca_keeps_its_predecessor_trusted(tmp_path: Path) -> None:
    old, new = pki.new_ca(NOW), pki.new_ca(NOW)
    bundle = pki.with_previous(new, old, NOW)
    trusted = x509.load_pem_x509_certificates(bundle.certificate)
    assert [c.fingerprint(hashes.SHA256()) for c in trusted] == [
        x509.load_pem_x509_certificate(pair.certificate).fingerprint(hashes.SHA256()) for pair in (new, old)
    ]
    assert pki.usable_ca(bundle, NOW)
    assert pki.with_previous(new, pki.Pair(b"junk", b""), NOW) == new


def test_a_tls_server_starts_with_them_and_its_clients_believe_it(tmp_path: Path) -> None:
    ca = pki.new_ca(NOW)
    serving = pki.new_serving(ca, NAMES, NOW)
    (tmp_path / "tls.crt").write_bytes(serving.certificate)
    (tmp_path / "tls.key").write_bytes(serving.key)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client_side = ssl.create_default_context(cadata=ca.certificate.decode())
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
    assert "PRIVATE" not in repr(pki.new_ca(NOW))
