"""The register of workers: ours is in it while we may hold a lease, and we read who else is."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from asgi_apikey.models import Seconds, Worker
from asgi_apikey.protocols import ChangeFeed, Clock

_BEAT = 2.0
"""Leases between two beats."""
_VALID = 3.0
"""Leases, from when a beat was sent, for which nobody takes us for dead; no lease lasts longer. One more than between
two beats, so that a lease taken just before the next one lasts as long as any other."""
_DEAD = 10.0
"""Leases without a beat after which a registration is removed: far more than it is valid, as clocks disagree."""


@dataclass(frozen=True, slots=True)
class _Sighting:
    beat: int
    since: Seconds


class Register:
    """One worker's view of the register.

    Beats are counters, not times: whether another worker still lives is told by watching, on our own clock, whether
    its counter moves. So no wrong clock can make a living worker look dead.

    Args:
        feed: Where the register is kept.
        clock: Monotonic.
        lease: Seconds; the unit of all waiting here.

    Attributes:
        worker_id: Ours, empty while we are not registered.
    """

    def __init__(self, feed: ChangeFeed, clock: Clock, *, lease: Seconds) -> None:
        self._feed = feed
        self._clock = clock
        self._lease = lease
        self.worker_id = ""
        self._bus = ""
        self._beat_at: Seconds = 0.0
        self._sightings: dict[str, _Sighting] = {}

    @property
    def valid_until(self) -> Seconds:
        """Until when we are not taken for dead, on our clock. Whoever was stopped meanwhile may be past it."""
        return self._beat_at + _VALID * self._lease

    async def present(self, bus: str) -> bool:
        """Whether we are registered as listening to `bus`; shows that we live when that is due.

        Raises:
            StoreUnavailable: Our registration is in doubt.
        """
        if not self.worker_id or bus != self._bus:
            return False
        began = self._clock.monotonic()
        if began - self._beat_at < _BEAT * self._lease:
            return True
        if not await self._feed.beat(self.worker_id):
            return False
        self._beat_at = began
        return True

    async def join(self, bus: str) -> None:
        """Register anew, as listening to `bus`: only when we hold no lease, for there may be nobody in between.

        Raises:
            StoreUnavailable: We may be registered or not; others remove a registration without a beat in time.
        """
        began = self._clock.monotonic()
        await self.leave()
        worker_id = secrets.token_hex(16)
        await self._feed.join(worker_id, bus, lease=self._lease)
        self.worker_id, self._bus, self._beat_at = worker_id, bus, began

    async def others(self) -> Sequence[Worker]:
        """Return all other workers, without those that have shown no sign of life for long, who are removed.

        Raises:
            StoreUnavailable: The register cannot be read.
        """
        others = [each for each in await self._feed.workers() if each.worker_id != self.worker_id]
        now = self._clock.monotonic()
        sightings = {each.worker_id: self._sighting(each, now) for each in others}
        self._sightings = sightings
        living = []
        for each in others:
            # Theirs may last longer than ours: what counts is what they have registered.
            if now - sightings[each.worker_id].since < _DEAD * max(self._lease, each.lease):
                living.append(each)
            else:
                await self._feed.dismiss(each)
        return living

    async def leave(self) -> None:
        """Remove our registration: only when we hold no lease any more.

        Raises:
            StoreUnavailable: It may still be there; others remove it in time.
        """
        if self.worker_id:
            worker_id, self.worker_id = self.worker_id, ""
            await self._feed.leave(worker_id)

    def _sighting(self, worker: Worker, now: Seconds) -> _Sighting:
        earlier = self._sightings.get(worker.worker_id)
        return earlier if earlier is not None and earlier.beat == worker.beat else _Sighting(worker.beat, now)
