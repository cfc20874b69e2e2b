"""Addresses from a Secret are called by https only, and only on the internet."""

import aiohttp
import pytest
from aiohttp.resolver import ThreadedResolver

from operand.addresses import PublicAddresses, is_public, why_not_called


@pytest.mark.parametrize(
    "url",
    [
        "https://service-manager.cfapps.eu10.hana.ondemand.com",
        "https://service-manager.cfapps.eu10.hana.ondemand.com:443/",
        "https://130.214.1.1/v1",
        "https://[2606:4700::1111]",
    ],
)
def test_an_address_on_the_internet_is_called_by_https(url: str) -> None:
    assert why_not_called(url) == ""
    assert why_not_called(url.replace("https", "http")) == "does not begin with https://"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1",
        "https://localhost:8443",
        "https://10.96.0.1",
        "https://192.168.1.1",
        "https://0.0.0.0",
        "https://169.254.169.254/latest",
        "https://100.64.0.1",
        "https://[::1]",
        "https://[fe80::1]",
        "https://[::]",
        "https://[fd00::1]",
        "https://[::ffff:10.0.0.1]",
        "https://[64:ff9b::a00:1]",
        "https://[2002:a00:1::1]",
        "https://224.0.0.1",
        "https://kubernetes.default.svc",
        "https://kubernetes",
        "https://a.svc.cluster.local.",
        "https://metadata.google.internal",
        "https://printer.local",
        "https://user:word@sm.example.com",
        "https://sm.example.com?a=b",
        "https://sm.example.com#a",
        "https://",
        "ftp://sm.example.com",
        "sm.example.com",
        "",
        "https://sm.example.com:99999",
        "https://a\nb.example.com",
        "https://[::1",
        "https://" + "a" * 600,
        "https://sm.exämple.com",
    ],
)
def test_anything_else_is_not_called_and_not_quoted(url: str) -> None:
    why = why_not_called(url)
    assert why and "example" not in why and "10." not in why


def test_for_tests_any_address_may_be_called_but_still_has_to_be_one() -> None:
    assert why_not_called("http://127.0.0.1:8080", any_address=True) == ""
    assert why_not_called("ftp://127.0.0.1", any_address=True) != ""


def test_numbers_that_only_look_like_public_addresses_are_seen_through() -> None:
    assert not is_public("::ffff:127.0.0.1") and not is_public("64:ff9b::7f00:1") and is_public("64:ff9b::808:808")


async def test_a_public_name_that_stands_for_an_address_inside_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS is in other hands: the name is good when it is looked at, and leads inside when it is called."""
    inside = await ThreadedResolver().resolve("127.0.0.1", 443)

    async def resolve(*_: object) -> object:
        return inside

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    connector = aiohttp.TCPConnector(resolver=PublicAddresses())
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError, match="on the internet"):
            await session.get("https://service-manager.example.com")
