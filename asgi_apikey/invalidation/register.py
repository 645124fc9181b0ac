"""The register of workers: ours is in it while we may hold a lease, and we read who else is."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from asgi_apikey.errors import Undecidable
from asgi_apikey.models import Seconds, Worker
from asgi_apikey.protocols import ChangeFeed, Clock

_log = logging.getLogger("asgi_apikey")

_BEAT = 2.0
"""Leases between two beats."""
_VALID = 3.0
"""Leases, from when a beat was sent, for which nobody takes us for dead; no lease lasts longer. One more than between
two beats, so that a lease taken just before the next one lasts as long as any other."""
_DEAD = 10.0
"""Leases without a beat after which a registration is removed: far more than it is valid, as clocks disagree."""
_MANY = 50
"""Workers from which on each looks for dead ones more rarely, so that the fleet together looks as often as so many."""


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
        self._look_at: Seconds = -math.inf
        self._sightings: dict[str, _Sighting] = {}

    @property
    def valid_until(self) -> Seconds:
        """Until when we are not taken for dead, on our clock. Whoever was stopped meanwhile may be past it."""
        return self._beat_at + _VALID * self._lease

    @property
    def beat_due_at(self) -> Seconds:
        """From when on we have to show again that we live, on our clock."""
        return self._beat_at + _BEAT * self._lease

    async def present(self, bus: str) -> bool:
        """Whether we are registered as listening to `bus`; shows that we live when that is due.

        Raises:
            StoreUnavailable: Our registration is in doubt.
        """
        if not self.worker_id or bus != self._bus:
            return False
        began = self._clock.monotonic()
        if began < self.beat_due_at:
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

    @property
    def look_is_due(self) -> bool:
        """Whether it is time to see who has died: for whoever is killed cannot leave."""
        return self._clock.monotonic() >= self._look_at

    async def tidy(self) -> None:
        """Look who is there, and remove the dead."""
        try:
            await self.others()
        except Undecidable as error:
            _log.debug("the register was not tidied: %s", error, extra={"event": "register_untidied"})

    async def others(self) -> Sequence[Worker]:
        """Return all other workers, without those that have shown no sign of life for long, who are removed.

        Raises:
            StoreUnavailable: The register cannot be read.
        """
        asked = self._clock.monotonic()
        self._look_at = asked + _DEAD * self._lease
        others = [each for each in await self._feed.workers() if each.worker_id != self.worker_id]
        now = self._clock.monotonic()
        self._look_at = asked + _DEAD * self._lease * max(1.0, len(others) / _MANY)
        self._sightings = {each.worker_id: self._sighting(each, now) for each in others}
        # Until we asked, not until we were told: meanwhile they may have beaten.
        silences = [asked - self._sightings[each.worker_id].since for each in others]
        # Theirs may last longer than ours: what counts is what they have registered.
        dead = [silence >= _DEAD * max(self._lease, each.lease) for each, silence in zip(others, silences, strict=True)]
        for each, is_dead in zip(others, dead, strict=True):
            if is_dead:
                await self._feed.dismiss(each)
        return [each for each, is_dead in zip(others, dead, strict=True) if not is_dead]

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
