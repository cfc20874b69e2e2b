"""Whether the operand can trust whoever answers at the token URL, as far as this process can tell.

The operand trusts the roots of its image and the CA certificates that a user gives it. This process knows the latter,
and the roots of its own image: an approximation, for both images carry the public ones.

The URL comes from a Secret: https only, never an address inside of the cluster or the network, and nothing is sent.
"""

import asyncio
import ssl
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from aiohttp.resolver import ThreadedResolver

from kube.trust import trusting
from models.text import plain
from operand.addresses import PublicAddresses, why_not_called

SECONDS: Final = 3.0
"""For the look as a whole: a name, a connection and a handshake."""


class Trust(Enum):
    """What a look found."""

    TRUSTED = 1.0
    NOT_TRUSTED = 0.0
    UNKNOWN = float("nan")
    """Nobody answered, or nobody was asked: nothing to be alarmed about."""


async def look(url: str, authorities: Sequence[str], any_address: bool = False) -> tuple[Trust, str]:
    """Verify the certificate of whoever answers at this URL; why it cannot be trusted, in a few words without the URL.

    Args:
        authorities: CA certificates in PEM that the operand trusts besides its image's.
        any_address: also addresses that are not on the internet: for tests.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or why_not_called(url, any_address) or not _has_roots():
        return Trust.UNKNOWN, ""
    try:
        async with asyncio.timeout(SECONDS):
            await _shake_hands(parts.hostname or "", parts.port or 443, _context(authorities), any_address)
    except ssl.SSLCertVerificationError as error:
        # What stands behind the comma may quote the host.
        return Trust.NOT_TRUSTED, plain(error.verify_message.partition(",")[0], 200)
    except (OSError, ValueError):  # a timeout and every other error of TLS are OSErrors
        return Trust.UNKNOWN, ""
    return Trust.TRUSTED, ""


async def _shake_hands(host: str, port: int, context: ssl.SSLContext, any_address: bool) -> None:
    resolver = ThreadedResolver() if any_address else PublicAddresses()
    try:
        found = await resolver.resolve(host, port)
    finally:
        await resolver.close()
    # By the address that was looked at: another look-up could find another one.
    _, writer = await asyncio.open_connection(found[0]["host"], port, ssl=context, server_hostname=host)
    writer.transport.abort()


def _context(authorities: Sequence[str]) -> ssl.SSLContext:
    context = trusting()
    if authorities:
        context.load_verify_locations(cadata="\n".join(authorities))
    return context


def _has_roots() -> bool:
    """Whether this image has any roots at all; without, it would trust nobody."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))
