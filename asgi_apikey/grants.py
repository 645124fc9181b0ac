"""Pure rules of delegation: what one may hand on is what one has.

A `Grant` says what somebody may do, and is built up from nothing: what is absent from it is not granted. `excess` is
the one place where two of them are compared; issuing, amending, enabling, rotating and importing all ask it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from asgi_apikey.errors import GrantExceeded
from asgi_apikey.limits import NOTHING, all_within, limit_rules
from asgi_apikey.measures import LimitRule
from asgi_apikey.models import Instant, KeyRecord
from asgi_apikey.origins import origin_rules, origin_text
from asgi_apikey.paths import matches
from asgi_apikey.policy import (
    EVERY_ROUTE,
    EVERYWHERE,
    NO_ROUTE,
    NOWHERE,
    Network,
    NetworkRules,
    RouteRule,
    RouteRules,
    missing_scopes,
    network_rules,
    route_rules,
)


class Everything(enum.Enum):
    """The type of `EVERYTHING`: any name at all. Only an administrator's grant holds it, and only by being told so."""

    EVERYTHING = enum.auto()


EVERYTHING: Final = Everything.EVERYTHING

Names: TypeAlias = frozenset[str] | Everything
_Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What somebody may do, or may let others do. A `Grant()` is nothing at all.

    Attributes:
        scopes: May hold wildcards; `{"*", "apikeys:*"}` is every scope.
        tenants: On whose side of the isolation boundary.
        owners: In whose name.
        environments: Where.
        networks: From which addresses.
        routes: With which methods on which paths.
        limits: How much at most; an empty set is `UNLIMITED`.
        origins: From which web pages, as rules; `EVERYTHING`: from all, and from what is none.
        until: Up to this instant, exclusive; `inf` means for ever.
    """

    scopes: frozenset[str] = frozenset()
    tenants: Names = frozenset()
    owners: Names = frozenset()
    environments: Names = frozenset()
    networks: NetworkRules = NOWHERE
    routes: RouteRules = NO_ROUTE
    limits: frozenset[LimitRule] = NOTHING
    origins: Names = frozenset()
    until: Instant = -math.inf


def grant_of(record: KeyRecord) -> Grant:
    """Return what a key may do. Only here "no restriction" becomes "all": a record without networks works everywhere.

    Raises:
        InvalidRequest: A restriction of the record cannot be parsed.
    """
    return Grant(
        scopes=record.scopes,
        tenants=frozenset({record.tenant}),
        owners=frozenset({record.owner}),
        environments=frozenset({record.environment}),
        networks=network_rules(record.networks) if record.networks else EVERYWHERE,
        routes=route_rules(record.routes) if record.routes else EVERY_ROUTE,
        limits=frozenset(limit_rules(record.limits)),
        origins=record.origins or EVERYTHING,
        until=math.inf if record.expires_at is None else record.expires_at,
    )


def excess(grant: Grant, granter: Grant) -> tuple[str, ...]:
    """Return in which respects `grant` goes beyond `granter`, as the names of its attributes; none: it may be given.

    The comparison is of what the two allow, not of how that is written: a grant of two halves of a network is within
    the whole. It is exact, so nothing that could be done with the grant is beyond the granter, and nothing within is
    refused, but for scopes, where a wildcard is within a wildcard only, and for limits, where like is compared with
    like: a rate with a rate, and a quota with one of the same period.
    """
    within = {
        "scopes": not missing_scopes(granter.scopes, grant.scopes),
        "tenants": _named(grant.tenants, granter.tenants),
        "owners": _named(grant.owners, granter.owners),
        "environments": _named(grant.environments, granter.environments),
        "networks": all(_within(_spans(grant.networks, v), _spans(granter.networks, v)) for v in (4, 6)),
        "routes": all(_may_route(rule, granter.routes.rules) for rule in grant.routes.rules),
        "limits": all_within(grant.limits, granter.limits),
        "origins": _paged(grant.origins, granter.origins),
        "until": grant.until <= granter.until,
    }
    return tuple(name for name, inside in within.items() if not inside)


def check_grant(record: KeyRecord, granter: Grant | None) -> None:
    """Refuse a key that could do more than whoever makes it so; without a granter, anything goes.

    Raises:
        GrantExceeded: It could.
        InvalidRequest: A restriction of the record cannot be parsed.
    """
    exceeds = () if granter is None else excess(grant_of(record), granter)
    if exceeds:
        raise GrantExceeded(exceeds)


def _named(names: Names, allowed: Names) -> bool:
    if isinstance(allowed, Everything):
        return True
    return not isinstance(names, Everything) and names <= allowed


def _paged(origins: Names, allowed: Names) -> bool:
    if isinstance(origins, Everything) or isinstance(allowed, Everything):
        return isinstance(allowed, Everything)
    rules = origin_rules(allowed)
    return all(rules.cover(origin_text(each)) for each in origins)


def _may_route(rule: RouteRule, allowed: tuple[RouteRule, ...]) -> bool:
    """Whether the rules together allow all that one does.

    Each method is looked at alone. Its paths must lie within one rule: of the endlessly many below `/x/`, neither
    single paths nor the subtrees of some segments make up all.
    """
    if rule.methods is None:
        return any(each.methods is None and matches(each.pattern, rule.pattern) for each in allowed)
    return all(any(each.admits(method, rule.pattern) for each in allowed) for method in rule.methods)


def _spans(rules: NetworkRules, version: int) -> list[_Span]:
    """Return the allowed addresses of one IP version as disjoint ranges of numbers, in order, both ends inclusive."""
    spans = _merged(_range(network) for network in rules.allow if network.version == version)
    for first, last in _merged(_range(network) for network in rules.deny if network.version == version):
        spans = [piece for span in spans for piece in _without(span, first, last)]
    return spans


def _range(network: Network) -> _Span:
    return int(network.network_address), int(network.broadcast_address)


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    result: list[_Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return result


def _without(span: _Span, first: int, last: int) -> list[_Span]:
    pieces = ((span[0], min(span[1], first - 1)), (max(span[0], last + 1), span[1]))
    return [piece for piece in pieces if piece[0] <= piece[1]]


def _within(spans: list[_Span], allowed: list[_Span]) -> bool:
    return all(any(first >= begin and last <= end for begin, end in allowed) for first, last in spans)
