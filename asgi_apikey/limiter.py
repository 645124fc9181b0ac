"""Takes what a request costs from the limits of its key: the stage between knowing who asks and letting him in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from asgi_apikey.errors import InvalidRequest, QuotaExceeded, RateExceeded, Undecidable
from asgi_apikey.limits import LimitPolicy
from asgi_apikey.measures import Charge, Meter, Quota, Reading
from asgi_apikey.models import KeyRecord, Principal, Seconds
from asgi_apikey.protocols import Clock, Meters

_log = logging.getLogger("asgi_apikey")

_REMEMBERED: Final = 10_000
_LONGEST: Final[Seconds] = 1.0
"""Seconds for which it is remembered that nothing was left: so much later is a gift noticed at most."""


@dataclass(slots=True)
class LimiterStats:
    """Counters since the start of the process; metrics pull them.

    Attributes:
        taken: Requests for which there was enough.
        refused: Requests for which there was not.
        undecided: Requests of which it could not be told, and that were refused for it.
        uncounted: Requests of which it could not be told, and that were let in all the same.
    """

    taken: int = 0
    refused: int = 0
    undecided: int = 0
    uncounted: int = 0


@dataclass(frozen=True, slots=True)
class _Refused:
    """That a meter had not as much: true until then, for time alone brings something back."""

    cost: int
    remaining: int
    until: Seconds
    again_at: Seconds | None


class Limiter:
    """Counts requests against the limits of their keys and owners.

    Args:
        meters: Where it is counted.
        clock: Wall and monotonic time.
        policy: What is limited for everybody.
        watch: Is told what was shown to whom, also on refusals; must not suspend, nor raise.

    Attributes:
        stats: See `LimiterStats`.
    """

    def __init__(
        self,
        meters: Meters,
        clock: Clock,
        *,
        policy: LimitPolicy,
        watch: Callable[[Principal, Sequence[Reading]], None] | None = None,
    ) -> None:
        self.stats = LimiterStats()
        self._meters = meters
        self._clock = clock
        self._policy = policy
        self._watch = watch
        # A client that goes on asking after a refusal costs nobody anything: it is told again from here.
        self._refused: LRUCache[Meter, _Refused] = LRUCache(_REMEMBERED)
        self._in_trouble = False

    async def take(self, principal: Principal, *, method: str, path: str | None) -> tuple[Reading, ...]:
        """Take what a request costs, of everything that it is counted in or of nothing.

        Args:
            principal: Who sends it.
            method: In capitals; `WEBSOCKET` for a handshake.
            path: Decoded; None if its spelling is odd.

        Returns:
            What is left. Nothing, where nothing is limited, or `fail_open` let it pass.

        Raises:
            QuotaExceeded: A quota has not as much left, or there are not enough credits.
            RateExceeded: No quota is to blame, but a rate.
            Undecidable: It could not be told, and the policy does not say `fail_open`.
        """
        charges = [] if principal.limits is None else self._charges(principal.limits, method, path)
        if not charges:
            return ()
        shown = self._remembered(charges) or await self._shown(charges)
        if self._watch is not None:
            self._watch(principal, shown)
        if any(each.refused for each in shown):
            self.stats.refused += 1
            raise _refusal(shown)
        return shown

    async def remaining(self, record: KeyRecord) -> tuple[Reading, ...]:
        """Return what is left for a key, and takes nothing.

        Raises:
            StoreUnavailable: It could not be told.
        """
        charges = [Charge(meter, 0) for meter in self._metered(record)]
        return await self._meters.take(charges, self._clock.wall()) if charges else ()

    async def top_up(self, record: KeyRecord, amount: int) -> tuple[Reading, ...]:
        """Give a key more credits, beyond what its limit says; they stay until they are spent.

        Other processes notice within a second.

        Raises:
            InvalidRequest: The key has no credits, or not a whole number of them is given.
            StoreUnavailable: It could not be done; with `outcome_unknown`, perhaps it was.
        """
        if type(amount) is not int or not 0 < amount <= 10**12:
            raise InvalidRequest("credits are given as a whole number, 1 or more")
        own = [meter for meter in self._metered(record) if _is_credit(meter) and meter.subject.startswith("key ")]
        if not own:
            raise InvalidRequest("the key has no credits; amend its limits, such as 'credits 500'")
        for meter in own:
            self._refused.pop(meter, None)
        return await self._meters.take([Charge(meter, -amount) for meter in own], self._clock.wall())

    def _metered(self, record: KeyRecord) -> tuple[Meter, ...]:
        meters = self._policy.meters(record)
        return () if meters is None else meters

    def _charges(self, meters: Sequence[Meter], method: str, path: str | None) -> list[Charge]:
        charges = []
        for meter in meters:
            cost = self._policy.cost(method, path) if _is_credit(meter) else 1
            if cost:
                charges.append(Charge(meter, cost))
        return charges

    async def _shown(self, charges: Sequence[Charge]) -> tuple[Reading, ...]:
        try:
            shown = await self._meters.take(charges, self._clock.wall())
        except Undecidable as error:
            self._note(error)
            if not self._policy.fail_open:
                self.stats.undecided += 1
                raise
            self.stats.uncounted += 1
            return ()
        self._note(None)
        if any(each.refused for each in shown):
            self._remember(charges, shown)
        else:
            self.stats.taken += 1
        return shown

    def _remember(self, charges: Sequence[Charge], shown: Sequence[Reading]) -> None:
        now, costs = self._clock.monotonic(), {each.meter: each.cost for each in charges}
        for each in shown:
            if each.refused:
                again_at = None if each.resets_in is None else now + each.resets_in
                until = now + _LONGEST if again_at is None else min(again_at, now + _LONGEST)
                self._refused[each.meter] = _Refused(costs[each.meter], each.remaining, until, again_at)

    def _remembered(self, charges: Sequence[Charge]) -> tuple[Reading, ...]:
        """Return the refusal that is still true, if there is one: what is gone comes back by time, or by `top_up`."""
        now = self._clock.monotonic()
        for charge in charges:
            held = self._refused.get(charge.meter)
            if held is not None and now < held.until and charge.cost >= held.cost:
                again_in = None if held.again_at is None else held.again_at - now
                return (Reading(charge.meter, held.remaining, again_in, refused=True),)
        return ()

    def _note(self, trouble: Undecidable | None) -> None:
        """Log the first of a streak of requests that could not be counted, and its end."""
        if trouble is not None and not self._in_trouble:
            consequence = "let in uncounted" if self._policy.fail_open else "answered 503"
            _log.warning(
                "limits cannot be counted, requests are %s: %s", consequence, trouble, extra={"event": "limits_lost"}
            )
        if trouble is None and self._in_trouble:
            _log.warning("limits can be counted again", extra={"event": "limits_back"})
        self._in_trouble = trouble is not None


def _is_credit(meter: Meter) -> bool:
    return isinstance(meter.rule, Quota) and meter.rule.credits


def _refusal(shown: Sequence[Reading]) -> QuotaExceeded | RateExceeded:
    refused = [each for each in shown if each.refused]
    waits = [each.resets_in for each in refused]
    retry_after = None if None in waits else max(each for each in waits if each is not None)
    kind = QuotaExceeded if any(isinstance(each.meter.rule, Quota) for each in refused) else RateExceeded
    return kind(tuple(shown), retry_after)
