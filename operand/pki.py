"""Makes and checks the CA and the serving certificate of the operand's webhooks. Pure: bytes in, bytes out.

New keys are ECDSA P-256: accepted in FIPS 140-3 mode, and made in a millisecond where RSA 4096 takes seconds. RSA
pairs that another manager left are kept while they are valid.
"""

import datetime
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFETIME: Final = datetime.timedelta(days=3650)
SERVING_LIFETIME: Final = datetime.timedelta(days=365)
RENEW_BEFORE: Final = datetime.timedelta(days=30)
"""Certificates count as expired this long before they are."""


@dataclass(frozen=True, repr=False)
class Pair:
    """A certificate and its private key in PEM. Never shown: `repr` is left out on purpose."""

    certificate: bytes
    key: bytes


def new_ca(now: datetime.datetime) -> Pair:
    """A self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sap-btp-operator-webhook-ca")])
    builder = _builder(name, name, key.public_key(), now, CA_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def with_previous(ca: Pair, previous: Pair | None, now: datetime.datetime) -> Pair:
    """The CA followed by its predecessor, so that what the old one signed stays trusted until it is replaced."""
    try:
        old = x509.load_pem_x509_certificate(previous.certificate) if previous else None
    except ValueError:
        old = None
    if old is None or old.not_valid_after_utc <= now:
        return ca
    return Pair(ca.certificate + _pem(old), ca.key)


def new_serving(ca: Pair, names: list[str], now: datetime.datetime) -> Pair:
    """A serving certificate for these DNS names, signed by the CA."""
    ca_certificate, ca_key = x509.load_pem_x509_certificate(ca.certificate), _load_key(ca.key)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sap-btp-operator-webhook")])
    builder = _builder(subject, ca_certificate.subject, key.public_key(), now, SERVING_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return Pair(_pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key))


def usable_ca(pair: Pair | None, now: datetime.datetime) -> bool:
    """Whether this pair can go on as the CA: readable, matching, a CA, and valid for a while."""
    try:
        certificate = _valid(pair, now)
        return bool(certificate and certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (ValueError, x509.ExtensionNotFound):
        return False


def usable_serving(pair: Pair | None, ca: Pair, names: list[str], now: datetime.datetime) -> bool:
    """Whether this pair can go on serving: readable, matching, valid for a while, for these names, by this CA."""
    try:
        certificate = _valid(pair, now)
        if certificate is None:
            return False
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.certificate))
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return set(names) <= set(alternatives.get_values_for_type(x509.DNSName))
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


def _valid(pair: Pair | None, now: datetime.datetime) -> x509.Certificate | None:
    if pair is None:
        return None
    certificate, key = x509.load_pem_x509_certificate(pair.certificate), _load_key(pair.key)
    in_time = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    return certificate if in_time and _raw(certificate.public_key()) == _raw(key.public_key()) else None


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks of API servers differ
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("neither an ECDSA nor an RSA key")
    return key


def _raw(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
