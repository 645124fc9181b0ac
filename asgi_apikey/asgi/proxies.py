"""Whom a proxy speaks for: the client's address, as far as trusted machines have told it.

Each proxy writes down whom it has talked to, at the end of one header line: `X-Forwarded-For: client, proxy1`. What
stands to the right was written by our own proxies, and what stands to the left by anybody. So the line is read from the
right, and the first address that is not one of ours is the client's; nothing beyond it is looked at.

Source: RFC 7239 sections 4, 5.2, 6 and 8.1. `X-Forwarded-For` has no standard; what proxies write there is a list of
addresses, some of them with a port.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.policy import Address, Network, address_from, network_text

UNIX: Final = "unix"
"""Among trusted proxies: a peer without an address, as on a Unix socket."""

FORWARDED: Final = "forwarded"

_MOST_HOPS: Final = 32
"""Nobody has so many proxies of his own in a row, and a request must not cost more than it has to."""

_LONGEST: Final = 4_096
"""Characters of a `Forwarded` that are read; 64 KiB, which servers let through, would take 8 ms of everybody's time."""

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_NODE: Final = re.compile(
    r"""\[(?P<bracketed>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)(?:%[^\]]*)?\](?::[0-9]{1,5})?  # RFC 3986 section 3.2.2, RFC 6874
      | (?P<v4>[0-9]+(?:\.[0-9]+){3})(?::[0-9]{1,5})?
      | (?P<v6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)(?:%.*)?""",
    re.VERBOSE,
)
# A quoted value may hold neither separators nor quotes: nobody's address has them, and where they may stand a client
# could open a quotation that swallows what our proxy has written behind it.
_PAIR: Final = re.compile(r'[ \t]*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)=(?:([^\s",;=\\]*)|"([^",;=\\]*)")[ \t]*')


@dataclass(frozen=True, slots=True)
class Proxies:
    """Machines whose word about the client is taken.

    Attributes:
        networks: Theirs.
        unix: Whether a peer without an address is one of them.
        header: Where they write, in lower case.
    """

    networks: tuple[Network, ...]
    unix: bool
    header: bytes

    def client_of(self, scope: Scope) -> str | None:
        """Return the client's address; None if it has none, or it cannot be told.

        The header is read of trusted peers only. It cannot be told where they send it twice, or where what our proxies
        must have written is no address. Where they do not send it, they are the client themselves.
        """
        peer = address_of(scope)
        hop = None if peer is None else address_from(peer)
        if not (self.unix if hop is None else self._trusts(hop)):
            return None if hop is None else str(hop)
        lines = [value for name, value in scope["headers"] if name.lower() == self.header]
        if len(lines) > 1:
            return None
        for hops, entry in enumerate(self._entries(lines)):
            hop = None if entry is None or hops >= _MOST_HOPS else _node(entry)
            if hop is None or not self._trusts(hop):
                break
        return None if hop is None else str(hop)

    def _entries(self, lines: list[bytes]) -> Iterator[str | None]:
        """Give who is written down in the one line, the nearest first; None for what cannot be read."""
        for line in lines:
            text = line.decode("latin-1")
            yield from _forwarded(text) if self.header == FORWARDED.encode() else _listed(text)

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def proxies_of(trusted: object, header: object) -> Proxies | None:
    """Return the proxies that are configured; None if there are none, and the peer is the client.

    Args:
        trusted: Addresses and networks, and `unix`.
        header: `Forwarded`, or the name of one that is written as `X-Forwarded-For` is.

    Raises:
        ConfigurationError: One cannot be read, or all the world would be trusted.
    """
    if isinstance(trusted, str) or not isinstance(trusted, Collection):
        raise ConfigurationError(
            f"trusted_proxies={trusted!r} is not a collection; write trusted_proxies=('10.0.0.7',)"
        )
    if not isinstance(header, str) or not _FIELD_NAME.fullmatch(header):
        raise ConfigurationError(f"forwarded_header={header!r} is no header; write 'X-Forwarded-For' or 'Forwarded'")
    if not trusted:
        return None
    networks = tuple(_network(each) for each in trusted if each != UNIX)
    return Proxies(networks, UNIX in trusted, header.lower().encode())


def _network(text: object) -> Network:
    try:
        network = ip_network(network_text(text))
    except (InvalidRequest, ValueError) as error:
        raise ConfigurationError(
            f"trusted_proxies: {text!r} is neither an address, such as '10.0.0.7' or '10.0.0.0/8', nor 'unix'"
        ) from error
    if network.prefixlen == 0:
        raise ConfigurationError(
            f"trusted_proxies: {text} would believe what anybody writes into a header; list the proxies"
        )
    return network


def address_of(scope: Scope) -> str | None:
    """Return the peer's address; None on a Unix socket. Daphne gives a list, others a tuple."""
    client = scope.get("client")
    address = client[0] if isinstance(client, tuple | list) and client else None
    return address if isinstance(address, str) and address else None


def _listed(text: str) -> Iterator[str]:
    """Give the entries of a list, the last first; without splitting what nobody will look at."""
    rest, comma = text, ","
    while comma:
        rest, comma, entry = rest.rpartition(",")
        yield entry.strip(" \t")


def _forwarded(text: str) -> Iterator[str | None]:
    """Give whom each element of `Forwarded` names, the last first; None where one does not.

    All of the line is read first: an element that cannot be may hold a quotation mark that belongs to its neighbour.
    """
    if len(text) > _LONGEST:
        yield None
        return
    elements = [[_PAIR.fullmatch(pair) for pair in each.split(";")] for each in text.split(",")]
    for pairs in reversed(elements) if all(map(all, elements)) else [[None]]:
        named = [pair[2] or pair[3] or "" for pair in pairs if pair is not None and pair[1].lower() == "for"]
        yield named[0] if len(named) == 1 else None


def _node(entry: str) -> Address | None:
    found = _NODE.fullmatch(entry)
    return None if found is None else address_from(found["bracketed"] or found["v4"] or found["v6"])
