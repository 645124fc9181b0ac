"""Pure rules of admission: what an authenticated principal may do, from where, and on which routes.

**Scopes.** A granted scope covers itself. One that ends in `.*` or `:*` covers everything below (`orders.*` covers
`orders.read` and `orders.read.own`, not `orders`), and `*` covers all. A `*` elsewhere is a character like any other.

**Networks.** `10.0.0.0/8` allows, `!10.1.0.0/16` denies. Denial wins; without any allowing rule, all that is not
denied is allowed. An IPv4 address written as IPv6 (`::ffff:10.1.2.3`) is that IPv4 address.

**Routes.** `GET,POST /orders/*` or, for every method, `/orders/*`. `/orders/*` is everything below `/orders/`, a path
without `/*` is itself alone. `GET` brings `HEAD`, as RFC 9110 section 9.3.2 has it. WebSocket handshakes have the
method `WEBSOCKET`: a key for reading must not open a channel on which one can write.

**Origins** are in `origins`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias, TypeGuard

from asgi_apikey.errors import (
    AuthenticationError,
    InvalidRequest,
    NetworkNotAllowed,
    OriginNotAllowed,
    RouteNotAllowed,
)
from asgi_apikey.origins import OriginRules, origin_rules
from asgi_apikey.paths import is_pattern, matches

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

MANAGEMENT: Final = "apikeys:"
"""What the scopes start with that manage keys.

`*` does not cover them. It was given to keys as "all of the application's data" before anybody mounted a management API
beside it, and whoever may make keys may make himself more of them than can be revoked.
"""

ROLE: Final = "role:"
"""What the scopes start with that name a role, see `roles`.

`*` does not cover them: what a role stands for is known where it is configured, and may be anything.
"""

_RESERVED: Final = (MANAGEMENT, ROLE)
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_METHOD: Final = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_MAPPED_PREFIX: Final = 96  # ::ffff:0:0/96, RFC 4291 section 2.5.5.2
_LONGEST_ADDRESS: Final = 64


# ---- scopes ----


def is_scope_name(name: object) -> TypeGuard[str]:
    """Whether this can be the name of a scope: visible ASCII without quote and backslash (RFC 6749 section 3.3)."""
    return isinstance(name, str) and _SCOPE.fullmatch(name) is not None


def covers(granted: str, wanted: str) -> bool:
    """Whether one granted scope covers another, which may itself be a pattern."""
    if granted == wanted:
        return True
    if granted == "*":
        return not wanted.startswith(_RESERVED)
    return granted.endswith((".*", ":*")) and len(wanted) >= len(granted) and wanted.startswith(granted[:-1])


def missing_scopes(granted: frozenset[str], required: Iterable[str]) -> frozenset[str]:
    """Return those of the required scopes that nothing granted covers; empty means admitted."""
    missing = frozenset(required) - granted
    if not missing:
        return missing
    patterns = [scope for scope in granted if scope.endswith("*")]
    return frozenset(scope for scope in missing if not any(covers(pattern, scope) for pattern in patterns))


def has_any(granted: frozenset[str], wanted: Iterable[str]) -> bool:
    """Whether at least one of the wanted scopes is covered. One of none is none: then the answer is no."""
    asked = frozenset(wanted)
    return missing_scopes(granted, asked) != asked


def covering(scope: str) -> frozenset[str]:
    """Return every scope that covers this one: what a store looks for when asked who may do something."""
    ends = [at for at, char in enumerate(scope) if char in ".:" and at + 1 < len(scope)]
    every = () if scope.startswith(_RESERVED) else ("*",)
    return frozenset({scope, *every, *(f"{scope[: at + 1]}*" for at in ends)})


# ---- networks ----


@dataclass(frozen=True, slots=True)
class NetworkRules:
    """From where: any address in `allow` and not in `deny`."""

    allow: tuple[Network, ...]
    deny: tuple[Network, ...] = ()

    def admit(self, address: str | None) -> bool:
        """Whether a peer with this address is allowed; one without an address (a Unix socket) is not."""
        peer = None if address is None else address_from(address)
        if peer is None:
            return False
        # `in` compares numbers only where the IP versions agree.
        return any(peer in network for network in self.allow) and not any(peer in network for network in self.deny)


EVERYWHERE: Final = NetworkRules((ip_network("0.0.0.0/0"), ip_network("::/0")))
NOWHERE: Final = NetworkRules(())


def network_text(rule: object) -> str:
    """Return a network rule in its one spelling: `10.0.0.0/8`, `!2001:db8::/32`.

    Raises:
        InvalidRequest: Not an address or a network, or one with host bits set, which is a slip more often than not.
    """
    if not isinstance(rule, str):
        raise InvalidRequest("a network is text such as '10.0.0.0/8'")
    sign = "!" if rule.startswith("!") else ""
    try:
        return f"{sign}{_unmapped(ip_network(rule.removeprefix('!')))}"
    except ValueError as error:
        raise InvalidRequest(
            "a network is written as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7, with ! before it to deny; "
            "nothing but zeros behind the prefix"
        ) from error


def network_rules(rules: Iterable[str]) -> NetworkRules:
    """Return the parsed rules. None at all mean no restriction.

    Raises:
        InvalidRequest: One cannot be parsed.
    """
    texts = [network_text(rule) for rule in rules]
    allow = tuple(ip_network(text) for text in texts if not text.startswith("!"))
    deny = tuple(ip_network(text[1:]) for text in texts if text.startswith("!"))
    return NetworkRules(allow or EVERYWHERE.allow, deny)


def address_from(text: str) -> Address | None:
    """Return the address that a text is, an IPv4 one written as IPv6 as itself; None if it is none."""
    try:
        # A zone ("fe80::1%eth0") names an interface of this machine and is no part of the address.
        address = ip_address(text[:_LONGEST_ADDRESS].partition("%")[0])
    except ValueError:
        return None
    return address if address.version == 4 else address.ipv4_mapped or address


def _unmapped(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if network.version == 6 else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network((int(mapped), network.prefixlen - _MAPPED_PREFIX))


# ---- routes ----


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One rule.

    Attributes:
        methods: None means every method there is.
        pattern: A plain path, or everything below one.
    """

    methods: frozenset[str] | None
    pattern: str

    def admits(self, method: str, path: str) -> bool:
        """Whether this rule allows a method on a plain path."""
        return (self.methods is None or method in self.methods) and matches(self.pattern, path)


@dataclass(frozen=True, slots=True)
class RouteRules:
    """What: anything that one of the rules allows."""

    rules: tuple[RouteRule, ...]

    def admit(self, method: str, path: str | None) -> bool:
        """Whether a request may be made; a path in an odd spelling (None) may not."""
        return path is not None and any(rule.admits(method, path) for rule in self.rules)


EVERY_ROUTE: Final = RouteRules((RouteRule(None, "/*"),))
NO_ROUTE: Final = RouteRules(())


def route_text(rule: object) -> str:
    """Return a route rule in its one spelling: methods sorted, one space, the path.

    Raises:
        InvalidRequest: Another shape, a method that is not one, or a path that could never match.
    """
    methods, pattern = _parted(rule)
    return pattern if methods is None else f"{','.join(sorted(methods))} {pattern}"


def route_rules(rules: Iterable[str]) -> RouteRules:
    """Return the parsed rules. None at all mean no restriction.

    Raises:
        InvalidRequest: One cannot be parsed.
    """
    parsed = tuple(RouteRule(_with_head(methods), pattern) for methods, pattern in map(_parted, sorted(rules)))
    return RouteRules(parsed) if parsed else EVERY_ROUTE


def _parted(rule: object) -> tuple[frozenset[str] | None, str]:
    if not isinstance(rule, str):
        raise InvalidRequest("a route is text such as 'GET,POST /orders/*'")
    before, _, after = ("", "", rule) if rule.startswith("/") else rule.partition(" ")
    methods = None if rule.startswith("/") else frozenset(before.split(","))
    if methods is not None and not all(_METHOD.fullmatch(method) for method in methods):
        raise InvalidRequest("the methods of a route are capital letters between commas, as in 'GET,POST /orders/*'")
    if not is_pattern(after):
        raise InvalidRequest(
            "the path of a route is plain and decoded, such as /orders/7, or /orders/* for all below; "
            "no '//', dot segments, escapes, '?', '#', ';' or '\\'"
        )
    return methods, after


def _with_head(methods: frozenset[str] | None) -> frozenset[str] | None:
    return methods | {"HEAD"} if methods is not None and "GET" in methods else methods


# ---- all of them, as a request meets them ----


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Where a key may be used, parsed once when its record is loaded; a key without any has None in this place.

    Attributes:
        networks: None means everywhere.
        routes: None means every route.
        origins: None means from every page, and from what is no page.
    """

    networks: NetworkRules | None
    routes: RouteRules | None
    origins: OriginRules | None = None

    def refusals(
        self, *, address: str | None, method: str, path: str | None, origin: str | None
    ) -> tuple[AuthenticationError, ...]:
        """Return each reason for which a request is refused; none: it is not.

        Args:
            address: Of the client; None if it has none, or it is unknown.
            method: In capitals; `WEBSOCKET` for a handshake.
            path: Decoded; None if its spelling is odd.
            origin: What the one `Origin` says; None if there is none, or more than one.
        """
        reasons: tuple[AuthenticationError, ...] = ()
        if self.networks is not None and not self.networks.admit(address):
            reasons = (NetworkNotAllowed(),)
        if self.origins is not None and not self.origins.admit(origin):
            reasons += (OriginNotAllowed(),)
        if self.routes is not None and not self.routes.admit(method, path):
            reasons += (RouteNotAllowed(),)
        return reasons

    def refusal(
        self, *, address: str | None, method: str, path: str | None, origin: str | None
    ) -> AuthenticationError | None:
        """Return the first of the `refusals`, or None."""
        reasons = self.refusals(address=address, method=method, path=path, origin=origin)
        return reasons[0] if reasons else None


def restrictions_of(networks: frozenset[str], routes: frozenset[str], origins: frozenset[str]) -> Restrictions | None:
    """Return the parsed restrictions of a key; None where there are none, which the hot path tests first.

    Raises:
        InvalidRequest: A rule cannot be parsed.
    """
    if not networks and not routes and not origins:
        return None
    return Restrictions(
        network_rules(networks) if networks else None,
        route_rules(routes) if routes else None,
        origin_rules(origins) if origins else None,
    )
