"""Which addresses messages may be sent to: public ones, unless somebody has said otherwise.

A name is looked up once, all its addresses are judged, and the connection goes to one that was judged: a name that
leads elsewhere a moment later (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import anyio

from asgi_apikey.webhooks.endpoints import Unsent

# RFC 6052: an IPv4 address in its last 32 bits, to which a gateway leads.
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether anybody on the internet can reach the address, so that nobody trusts who comes from here."""
    inner = _inner(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved and not address.is_unspecified


async def address_of(host: str, port: int, *, allow_private: bool) -> str:
    """Return an address of a host to which messages may be sent.

    Raises:
        Unsent: It has none; or one of its addresses is not public, and that is not allowed.
    """
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unsent("its name leads nowhere") from error
    # Without the zone of a link-local address, which is none of the address.
    addresses = [str(place[0]).partition("%")[0] for *_, place in found]
    if not addresses:
        raise Unsent("its name leads nowhere")
    # All of them: whoever answers for the name could otherwise wait until the other one is tried.
    if not allow_private and not all(is_public(ip_address(each)) for each in addresses):
        raise Unsent("its name leads to an address that is not public; allow_private=True would allow that")
    return addresses[0]


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for."""
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
