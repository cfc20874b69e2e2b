"""A client certificate in place of the secret, by https with a certificate that has to be trusted."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube.client import Kube
from kube.resources import SECRETS
from localcluster.client import Person
from localcluster.servicemanager import ServiceManager as StandIn
from models.names import KYMA_NAMESPACE, RECLAIM_SECRET
from operand.pki import Pair
from operand.reclaim_credentials import Unusable, read_reclaim_credentials
from operand.sap_answers import ServiceManagerAway
from operand.service_manager import Kind, connected

NOBODY = "00000000-0000-4000-8000-000000000000"


def issue(name: str, ca: Pair | None = None) -> Pair:
    """A certificate with its key: a CA, or what that CA signs for a server and its clients."""
    now, key = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.load_pem_x509_certificate(ca.certificate).subject if ca else subject
    signer = serialization.load_pem_private_key(ca.key, None) if ca else key
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private)


@pytest.fixture(scope="module")
def ca() -> Pair:
    return issue("ca")


@pytest.fixture(scope="module")
def client_pair(ca: Pair) -> Pair:
    """What SAP BTP hands out as certificate and key."""
    return issue("reclaim", ca)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def sap(ca: Pair, folder: Path) -> Iterator[StandIn]:
    serving = issue("localhost", ca)
    for name, content in (("ca.crt", ca.certificate), ("tls.crt", serving.certificate), ("tls.key", serving.key)):
        (folder / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    with StandIn(context) as sap:
        yield sap


@pytest.fixture
async def secret(kube: Kube, person: Person, sap: StandIn, client_pair: Pair) -> dict[str, str]:
    known = sap.admin_credentials()
    return {
        **{key: known[key] for key in ("clientid", "sm_url", "url")},
        "certurl": known["url"],
        "certificate": client_pair.certificate.decode(),
        "key": client_pair.key.decode(),
    }


async def test_a_certificate_stands_for_the_secret(
    kube: Kube, worker: Kube, person: Person, secret: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.crt"))
    person.put_secret(secret, name=RECLAIM_SECRET)
    credentials = await read_reclaim_credentials(worker, any_address=True)
    async with connected(credentials) as manager:
        assert await manager.find(Kind.INSTANCE, NOBODY) is None
    assert secret["key"] not in repr(credentials)
    await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)


async def test_a_server_that_cannot_be_trusted_gets_nothing(
    kube: Kube, worker: Kube, person: Person, sap: StandIn, secret: dict[str, str]
) -> None:
    sap.forget()
    person.put_secret(secret, name=RECLAIM_SECRET)
    credentials = await read_reclaim_credentials(worker, any_address=True)
    async with connected(credentials) as manager:
        with pytest.raises(ServiceManagerAway, match="token: its certificate cannot be trusted"):
            await manager.find(Kind.INSTANCE, NOBODY)
    assert sap.calls == {}
    await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)


async def test_a_key_that_does_not_fit_or_is_encrypted_or_far_too_large_is_said_to_be_so(
    kube: Kube, worker: Kube, person: Person, secret: dict[str, str], ca: Pair
) -> None:
    encrypted = serialization.load_pem_private_key(secret["key"].encode(), None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    for key, says in ((ca.key, "do not fit"), (encrypted, "do not load"), (b"x" * 40_000, "larger than 32 KiB")):
        person.put_secret({**secret, "key": key.decode()}, name=RECLAIM_SECRET)
        with pytest.raises(Unusable, match=says):
            await read_reclaim_credentials(worker, any_address=True)
    await kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
