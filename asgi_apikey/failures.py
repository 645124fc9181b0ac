"""How many wrong keys one client may present before it has to queue behind everybody else."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cachetools import LRUCache

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Seconds


@dataclass(frozen=True, slots=True)
class Allowance:
    """`burst` failures at once, and one more every `per` seconds."""

    burst: int
    per: Seconds

    def __post_init__(self) -> None:
        if self.burst < 1 or not 0 < self.per < math.inf:
            raise ConfigurationError("an allowance needs burst >= 1 and per > 0 seconds")


class FailureBudget:
    """Counts failures per client address, and per address and key id, in bounded memory.

    An overdrawn budget is a fact, not a verdict: the caller decides what it costs. Ours never refuses the true
    holder for it: a key that matched before is not asked, and an unproven one only waits in a narrower queue.

    The bookkeeping is the generic cell rate algorithm (ITU-T I.371, Annex A): one number per client, the
    instant at which its bucket will be empty again.

    Args:
        address: Allowance of one client address over all keys.
        pair: Allowance of one client address for one key id.
        clients: Addresses and pairs remembered, at least 2; the least recent are forgotten first.

    Raises:
        ConfigurationError: Room for less than one address and one pair.
    """

    def __init__(self, *, address: Allowance, pair: Allowance, clients: int = 10_000) -> None:
        if clients < 2:
            raise ConfigurationError("a failure budget needs clients >= 2: every failure is counted twice")
        self._address = address
        self._pair = pair
        self._empty_at: LRUCache[tuple[str, str | None], Seconds] = LRUCache(clients)

    def __len__(self) -> int:
        """The number of addresses and pairs remembered."""
        return len(self._empty_at)

    def overdrawn(self, address: str, key_id: str, now: Seconds) -> bool:
        """Whether this client has used up its failures, for this key id or altogether."""
        return self._full((address, None), self._address, now) or self._full((address, key_id), self._pair, now)

    def charge(self, address: str, key_id: str, now: Seconds) -> None:
        """Count one failure at `now` (seconds of a monotonic clock)."""
        self._add((address, None), self._address, now)
        self._add((address, key_id), self._pair, now)

    def _full(self, client: tuple[str, str | None], allowance: Allowance, now: Seconds) -> bool:
        # Full as soon as a whole failure no longer fits: asking for a brim-full bucket would be true at the instant
        # of the failure only, as the bucket leaks. The thousandth of a failure is for rounding.
        return self._empty_at.get(client, now) - now > (allowance.burst - 0.999) * allowance.per

    def _add(self, client: tuple[str, str | None], allowance: Allowance, now: Seconds) -> None:
        # Never further ahead than a full bucket: a flood of an hour must not be paid off for an hour.
        filled = max(self._empty_at.get(client, now), now) + allowance.per
        self._empty_at[client] = min(filled, now + allowance.burst * allowance.per)
