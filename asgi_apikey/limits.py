"""Pure rules of limits: how they are written, which one is within another, and which ones a key has.

**Rates.** `100/minute`: a hundred requests at once, and one more every 0.6 seconds. `100/15 minutes` does, too.

**Quotas.** `quota 2000/day`: two thousand requests from midnight to midnight, UTC; also per `hour` and `month`, or,
without a period, ever.

**Credits.** `credits 500` are spent by requests as the costs of their routes say; `credits 500/month` are filled up to
500 at the start of each month, UTC.

What is counted for a key is counted for its lineage: rotating a key must not give it everything anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.measures import LimitRule, Meter, Period, Quota, Rate
from asgi_apikey.models import KeyRecord
from asgi_apikey.policy import RouteRule, route_rules

MOST: Final = 8
"""Limits of one key: each is counted at every request."""

NOTHING: Final[frozenset[LimitRule]] = frozenset({Quota(0)})
"""What allows no request at all."""

UNLIMITED: Final[frozenset[LimitRule]] = frozenset()

_UNITS: Final[Mapping[str, int]] = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
_LONGEST: Final = 31 * 86_400
_RATE: Final = re.compile(r"([0-9]{1,6})/(?:([0-9]{1,7}) ?)?(second|minute|hour|day)s?")
_QUOTA: Final = re.compile(r"(quota|credits) ([0-9]{1,12})(?:/(hour|day|month))?")
_NO_COSTS: Final[Mapping[str, int]] = MappingProxyType({})


def limit_rule(text: object) -> LimitRule:
    """Return the rule that a text spells.

    Raises:
        InvalidRequest: None does; or it allows nothing, or spans more than a month.
    """
    rule = _rule(text) if isinstance(text, str) else None
    if rule is None or rule.amount < 1 or (isinstance(rule, Rate) and not 1 <= rule.per <= _LONGEST):
        raise InvalidRequest(
            "a limit is written as 100/minute or 100/15 minutes, quota 2000/day, credits 500 or credits 500/month"
        )
    return rule


def limit_text(rule: object) -> str:
    """Return a limit in its one spelling.

    Raises:
        InvalidRequest: It is none.
    """
    return text_of(limit_rule(rule))


def text_of(rule: LimitRule) -> str:
    """Return the one spelling of a rule."""
    if isinstance(rule, Rate):
        unit, seconds = next(each for each in _UNITS.items() if rule.per % each[1] == 0)
        several = rule.per // seconds
        return f"{rule.amount}/{unit if several == 1 else f'{several} {unit}s'}"
    what = "credits" if rule.credits else "quota"
    return f"{what} {rule.amount}" + (f"/{rule.period}" if rule.period else "")


def limit_rules(texts: Iterable[object]) -> tuple[LimitRule, ...]:
    """Return the rules of one subject, in the order of the names of their counts.

    Raises:
        InvalidRequest: One is none, there are too many, or two would share a count.
    """
    rules = {limit_rule(text) for text in texts}
    names = {name_of(rule): rule for rule in rules}
    if len(rules) > MOST or len(names) < len(rules):
        raise InvalidRequest(f"a key has at most {MOST} limits, and one for each span of time")
    return tuple(names[name] for name in sorted(names))


def name_of(rule: LimitRule) -> str:
    """Return the name of the count. The amount is no part of it: with another one, what was counted still counts."""
    if isinstance(rule, Rate):
        return f"rate {rule.per}"
    return f"{'credits' if rule.credits else 'quota'} {rule.period or 'ever'}"


def is_within(rule: LimitRule, other: LimitRule) -> bool:
    """Whether whoever keeps to one rule keeps to the other: rates are compared with rates, and so on."""
    if isinstance(rule, Rate) and isinstance(other, Rate):
        return rule.amount <= other.amount and rule.amount * other.per <= other.amount * rule.per
    if isinstance(rule, Quota) and isinstance(other, Quota):
        alike = rule.credits == other.credits and rule.period in (None, other.period)
        return alike and rule.amount <= other.amount
    return False


def all_within(rules: Collection[LimitRule], others: Collection[LimitRule]) -> bool:
    """Whether whoever keeps to all of these rules keeps to each of the others."""
    return all(any(is_within(rule, other) for rule in rules) for other in others)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    """The limits of a deployment; nothing is limited but what is said here and what records say.

    Attributes:
        per_key: Of every key beside its own, such as `("100/minute",)`. Of two for the same span the tighter counts, so
            what a record says never loosens what is said here.
        per_owner: Of all keys of an owner in a tenant together, beside their own.
        costs: Credits that a request costs, by route rule (`{"POST /reports/*": 5}`); the first that fits counts, else
            it is 1. An odd spelling of a path costs as much as the dearest.
        fail_open: Whether requests are let in, uncounted, when it cannot be told what is left. If not, they are
            answered 503.

    Raises:
        ConfigurationError: A limit or a cost that is none.
    """

    per_key: Collection[str] = ()
    per_owner: Collection[str] = ()
    costs: Mapping[str, int] = field(default_factory=lambda: _NO_COSTS)
    fail_open: bool = False
    _key_rules: tuple[LimitRule, ...] = field(init=False, repr=False, compare=False)
    _owner_rules: tuple[LimitRule, ...] = field(init=False, repr=False, compare=False)
    _costs: tuple[tuple[RouteRule, int], ...] = field(init=False, repr=False, compare=False)
    _dearest: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        costs = _checked_costs(self.costs)
        object.__setattr__(self, "_key_rules", _configured("per_key", self.per_key))
        object.__setattr__(self, "_owner_rules", _configured("per_owner", self.per_owner))
        object.__setattr__(self, "_costs", costs)
        object.__setattr__(self, "_dearest", max(1, *(cost for _, cost in costs)) if costs else 1)
        if not isinstance(self.fail_open, bool):
            raise ConfigurationError(f"fail_open={self.fail_open!r} is neither True nor False")

    def meters(self, record: KeyRecord) -> tuple[Meter, ...] | None:
        """Return what is counted for each request with this record's key; None: nothing.

        Raises:
            InvalidRequest: A limit of the record cannot be read.
        """
        own = _tightest((*self._key_rules, *limit_rules(record.limits)))
        if not own and not self._owner_rules:
            return None
        group = f"{record.tenant}\n{record.owner}"
        key, owner = f"key {record.lineage}", f"owner {group}"
        return (
            *(Meter(group, key, name_of(rule), rule, text_of(rule)) for rule in own),
            *(Meter(group, owner, name_of(rule), rule, f"owner {text_of(rule)}") for rule in self._owner_rules),
        )

    def cost(self, method: str, path: str | None) -> int:
        """Return the credits that a request costs.

        Args:
            method: In capitals; `WEBSOCKET` for a handshake.
            path: Decoded; None if its spelling is odd.
        """
        if path is None:
            return self._dearest
        return next((cost for rule, cost in self._costs if rule.admits(method, path)), 1)


def _rule(text: str) -> LimitRule | None:
    if (rate := _RATE.fullmatch(text)) is not None:
        amount, several, unit = rate.groups()
        return Rate(int(amount), int(several or 1) * _UNITS[unit])
    if (quota := _QUOTA.fullmatch(text)) is not None:
        what, amount, period = quota.groups()
        return Quota(int(amount), Period(period) if period else None, what == "credits")
    return None


def _tightest(rules: Iterable[LimitRule]) -> tuple[LimitRule, ...]:
    """Return one rule for each count."""
    tightest: dict[str, LimitRule] = {}
    for rule in sorted(rules, key=lambda each: (name_of(each), -each.amount)):
        tightest[name_of(rule)] = rule
    return tuple(tightest.values())


def _configured(name: str, texts: object) -> tuple[LimitRule, ...]:
    if isinstance(texts, str) or not isinstance(texts, Collection):
        raise ConfigurationError(f"{name}={texts!r} is not a collection of limits; write {name}=('100/minute',)")
    try:
        return limit_rules(texts)
    except InvalidRequest as error:
        raise ConfigurationError(f"{name}: {error}") from error


def _checked_costs(costs: object) -> tuple[tuple[RouteRule, int], ...]:
    if not isinstance(costs, Mapping):
        raise ConfigurationError("costs= is a mapping of routes to credits, as {'POST /reports/*': 5}")
    for route, cost in costs.items():
        if isinstance(cost, bool) or not isinstance(cost, int) or not 0 <= cost <= 1_000_000:
            raise ConfigurationError(f"costs: {route!r} costs {cost!r}; a cost is a whole number of credits from 0 on")
    try:
        return tuple((route_rules([route]).rules[0], cost) for route, cost in costs.items())
    except InvalidRequest as error:
        raise ConfigurationError(f"costs: {error}") from error
