"""Which addresses from a Secret may be called: https, on the internet, never anything inside of a cluster or a network.

Whoever may write the Secret could otherwise have the manager, which stands where they do not, call a cluster's
services, a cloud's metadata or a node. A name is looked at, and what it stands for once more when it is connected to.
"""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

LONGEST: Final = 500
"""Characters of a URL."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_INSIDE: Final = (
    "localhost",
    "local",
    "internal",
    "svc",
    "cluster",
    "lan",
    "home",
    "corp",
    "test",
    "example",
    "invalid",
)
"""Last labels of names that are given inside of clusters and networks, or to nobody (RFC 6761)."""


def why_not_called(url: str, any_address: bool = False) -> str:
    """Why this URL must not be called, in a few words that do not quote it; empty if it may be.

    Args:
        any_address: also http, and addresses that are not on the internet: for tests.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        return "is no URL"
    if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url or port == 0:
        return "is no URL"
    if parts.scheme != "https" and not (any_address and parts.scheme == "http"):
        return "does not begin with https://"
    if not host or parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return "is more or less than https://, a host and a path"
    if any_address:
        return ""
    try:
        return "" if is_public(host) else "is not an address on the internet"
    except ValueError:
        labels = host.rstrip(".").lower().split(".")
        return "is a name inside of a cluster or a network" if len(labels) < 2 or labels[-1] in _INSIDE else ""


def is_public(address: str) -> bool:
    """Whether it is an address on the internet, also where an IPv6 address stands for an IPv4 one.

    Raises:
        ValueError: it is no address.
    """
    found = ip_address(address)
    inner = _embedded(found) if isinstance(found, IPv6Address) else None
    return is_public(str(inner)) if inner else found.is_global and not found.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    nat64 = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
    return address.ipv4_mapped or address.sixtofour or nat64


class PublicAddresses(AbstractResolver):
    """Resolves names to addresses on the internet only: what it does not tell cannot be connected to."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError if the name stands for no such address."""
        found = [each for each in await self._inner.resolve(host, port, family) if is_public(each["host"])]
        if not found:
            raise OSError(errno.EHOSTUNREACH, "the name does not stand for an address on the internet")
        return found

    async def close(self) -> None:
        await self._inner.close()
