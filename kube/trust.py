"""Verifying whoever answers, on every Python as client-go and the operand verify."""

import ssl


def trusting(authority: str | None = None) -> ssl.SSLContext:
    """TLS of a client that trusts the CA certificates in this file, or those of the system.

    Python 3.13 began to insist on key identifiers, which many private CAs lack. Chain, expiry and host name are
    verified as ever.
    """
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
