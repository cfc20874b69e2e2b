"""Makes and checks the serving certificate of the operand's webhooks, and the CAs that these trust. Pure.

A CA signs one serving certificate, and its key is thrown away: nobody can sign a second one. Keys are ECDSA P-256:
accepted in FIPS 140-3 mode, and made in a millisecond where RSA 4096 takes seconds. What another manager left, RSA too,
is kept while it is valid.
"""

import datetime
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes, PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = datetime.timedelta(days=365)
"""Of a serving certificate and of its CA."""
RENEW_BEFORE: Final = datetime.timedelta(days=30)
"""Certificates count as expired this long before they are."""
OVERLAP: Final = datetime.timedelta(days=1)
"""How long a new CA's predecessors stay trusted: until every pod has long read the new certificate."""
SMALLEST_RSA: Final = 2048
"""Bits of an RSA key; what a smaller one signed is not trusted."""
LARGEST_BUNDLE: Final = 64 * 1024
"""Bytes of a bundle that are looked at."""
_UNREADABLE: Final = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound)
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


@dataclass(frozen=True, repr=False)
class Pair:
    """A certificate and its private key in PEM. Never shown: `repr` is left out on purpose."""

    certificate: bytes
    key: bytes


def new_serving(names: list[str], now: datetime.datetime) -> tuple[Pair, bytes]:
    """A serving certificate for these DNS names, and its CA's certificate in PEM. The CA can sign no other."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sap-btp-operator-webhook-ca")])
    builder = _builder(ca_name, ca_name, ca_key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    ca = builder.sign(ca_key, hashes.SHA256())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sap-btp-operator-webhook")])
    builder = _builder(name, ca_name, key.public_key(), now)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return Pair(_pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key)), _pem(ca)


def bundle(pair: Pair | None, candidates: Iterable[bytes], names: list[str], now: datetime.datetime) -> bytes | None:
    """What webhooks have to trust for this pair to go on serving; None if it cannot.

    It can if it is readable, matching, valid for a while, for these names, and issued by one of the CAs among the
    candidates, which are bundles in PEM. That CA comes first. Another valid one follows while the first is new: a
    pod may still serve what it signed.
    """
    try:
        certificate = _valid(pair, now)
        if certificate is None or not set(names) <= set(_alternatives(certificate)):
            return None
    except _UNREADABLE:
        return None
    authorities = _authorities(candidates, now)
    issuer = next(
        (ca for ca in authorities if _issued(certificate, ca) and now < ca.not_valid_after_utc - RENEW_BEFORE), None
    )
    if issuer is None:
        return None
    is_new = now < issuer.not_valid_before_utc + OVERLAP
    return b"".join(_pem(ca) for ca in [issuer, *(ca for ca in authorities if is_new and ca != issuer)])


def _authorities(bundles: Iterable[bytes], now: datetime.datetime) -> list[x509.Certificate]:
    """The sound and valid CAs in these bundles, each once. What else stands there is passed over."""
    found: list[x509.Certificate] = []
    for text in bundles:
        for block in _BLOCK.findall(text[:LARGEST_BUNDLE]):
            try:
                ca = x509.load_pem_x509_certificate(block)
                is_ca = ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
                if is_ca and _sound(ca.public_key()) and _in_time(ca, now) and ca not in found:
                    found.append(ca)
            except _UNREADABLE:
                continue
    return found


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except _UNREADABLE:
        return False
    return True


def _valid(pair: Pair | None, now: datetime.datetime) -> x509.Certificate | None:
    if pair is None:
        return None
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    key = serialization.load_pem_private_key(pair.key, None)
    matches = _raw(certificate.public_key()) == _raw(key.public_key())
    if not matches or not _sound(certificate.public_key()):
        return None
    return certificate if _in_time(certificate, now) and now < certificate.not_valid_after_utc - RENEW_BEFORE else None


def _in_time(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    return certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc


def _sound(key: CertificatePublicKeyTypes) -> bool:
    """Whether a key is of a kind and size that is worth trusting."""
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= SMALLEST_RSA
    return isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256


def _alternatives(certificate: x509.Certificate) -> list[str]:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: CertificatePublicKeyTypes, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks of API servers differ
        .not_valid_after(now + LIFETIME)
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


def _raw(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
