"""What a key could do, found out by trying everything in a small world: none of the package's own rules is asked.

Rights of several kinds (scopes, addresses, routes, pages, time, in whose name) are tried each by itself: a key may do
what is allowed in all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import product

from asgi_apikey.models import KeyRecord

LEAVES = ["a", "a.b", "a.c", "a.b.c", "a.other", "a:b", "a:other", "b", "other"]
"""Scopes that a route of the application might ask for; some are named by no grant."""
MANAGING = ["apikeys:read", "apikeys:write", "apikeys:revoke", "apikeys:operator", "apikeys:tenants", "apikeys:other"]
ADDRESSES = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "192.0.2.1", "::1", "::2", "::5"]
METHODS = ["GET", "HEAD", "POST", "WEBSOCKET"]
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/a/other", "/b", "/k", "/k/x", "/other"]
PAGES = [None, "https://a.example.com", "https://b.example.com", "https://x.b.example.com", "https://example.com"]
OWNERS, TENANTS, ENVIRONMENTS = ["x", "y", "z"], ["", "t", "u"], ["live", "test"]


@dataclass(frozen=True)
class Doable:
    """All that somebody can do, by kind."""

    scopes: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[tuple[str, str]]
    pages: frozenset[str | None]
    names: frozenset[tuple[str, str, str]]
    until: float

    def beyond(self, other: Doable) -> list[str]:
        """In which kinds this goes beyond somebody else."""
        kinds = ("scopes", "addresses", "routes", "pages", "names")
        found = [kind for kind in kinds if not getattr(self, kind) <= getattr(other, kind)]
        return found + (["until"] if self.until > other.until else [])


def doable_by_key(record: KeyRecord) -> Doable:
    """What can be done with a key, were it enabled and begun."""
    return Doable(
        scopes=frozenset(leaf for leaf in LEAVES + MANAGING if allows_scope(record.scopes, leaf)),
        addresses=frozenset(each for each in ADDRESSES if allows_address(record.networks, each)),
        routes=frozenset(each for each in product(METHODS, PATHS) if allows_route(record.routes, *each)),
        pages=frozenset(each for each in PAGES if allows_page(record.origins, each)),
        names=frozenset({(record.owner, record.tenant, record.environment)}),
        until=float("inf") if record.expires_at is None else record.expires_at,
    )


def grantable_by_key(record: KeyRecord, *, delegates: bool) -> Doable:
    """What may be handed on by whoever manages with this key."""
    own = doable_by_key(record)
    every_owner = "apikeys:operator" in own.scopes
    every_tenant = every_owner and "apikeys:tenants" in own.scopes
    owners = OWNERS if every_owner else [record.owner]
    tenants = TENANTS if every_tenant else [record.tenant]
    return Doable(
        scopes=own.scopes if delegates else own.scopes - set(MANAGING),
        addresses=own.addresses,
        routes=own.routes,
        pages=own.pages,
        names=frozenset(product(owners, tenants, [record.environment])),
        until=own.until,
    )


def allows_scope(granted: frozenset[str], leaf: str) -> bool:
    """Whether a route that asks for this scope lets the key in."""
    manages = leaf.startswith("apikeys:")
    below = [scope[:-1] for scope in granted if scope.endswith("*") and scope != "*"]
    return leaf in granted or ("*" in granted and not manages) or any(leaf.startswith(each) for each in below)


def allows_address(rules: frozenset[str], address: str) -> bool:
    """Whether the key may be used from there."""
    peer = ip_address(address)
    allowed = [ip_network(rule) for rule in rules if rule[0] != "!"]
    denied = [ip_network(rule[1:]) for rule in rules if rule[0] == "!"]
    return (not allowed or any(peer in each for each in allowed)) and not any(peer in each for each in denied)


def allows_page(rules: frozenset[str], page: str | None) -> bool:
    """Whether the key may be used from a page; None: from what is none."""
    patterns = [re.escape(rule).replace(re.escape("*"), "[a-z]+") for rule in rules]
    return not rules or (page is not None and any(re.fullmatch(each, page) for each in patterns))


def allows_route(rules: frozenset[str], method: str, path: str) -> bool:
    """Whether the key may be used for that."""
    return not rules or any(_covers(rule, method, path) for rule in rules)


def _covers(rule: str, method: str, path: str) -> bool:
    methods, _, pattern = rule.rpartition(" ")
    named = methods.split(",") if methods else METHODS
    if "GET" in named:
        named = [*named, "HEAD"]
    on_path = path.startswith(pattern[:-1]) if pattern.endswith("/*") else path == pattern
    return method in named and on_path
