"""Where messages are never sent."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import anyio
import pytest

from asgi_apikey.webhooks.addresses import address_of, is_public
from asgi_apikey.webhooks.endpoints import Unsent

PRIVATE = (
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"),
    *("255.255.255.255", "192.0.2.1", "240.0.0.1", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_ours_is_not_public(address: str) -> None:
    """Nor one that only leads to it: mapped, translated, tunnelled."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:220:1::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Also written as IPv6."""
    assert is_public(ip_address(address))


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_this_machine_is_out_of_reach(host: str) -> None:
    """Unless somebody has said otherwise."""
    with pytest.raises(Unsent, match="not public"):
        await address_of(host, 443, allow_private=False)

    assert ip_address(await address_of(host, 443, allow_private=True)).is_loopback


@pytest.mark.anyio
async def test_one_bad_address_spoils_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers for the name must not be able to choose among several."""

    async def looked_up(host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        places = [("93.184.215.14", port), ("10.0.0.1", port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]

    monkeypatch.setattr(anyio, "getaddrinfo", looked_up)
    with pytest.raises(Unsent, match="not public"):
        await address_of("hooks.example", 443, allow_private=False)
    assert await address_of("hooks.example", 443, allow_private=True) == "93.184.215.14"


@pytest.mark.anyio
async def test_a_name_that_leads_nowhere_is_no_error_of_ours() -> None:
    """The message is sent again later."""
    with pytest.raises(Unsent, match="leads nowhere"):
        await address_of("does-not-exist.invalid", 443, allow_private=True)
