"""Counts accepted requests in memory and writes them in batches, away from the requests."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import anyio

from asgi_apikey.errors import ConfigurationError, StoreUnavailable, Undecidable
from asgi_apikey.models import HOUR, Seconds, Tally, Usage
from asgi_apikey.protocols import Clock, UsageSink

_log = logging.getLogger("asgi_apikey")

_BATCH = 5_000
"""Keys in one write: it must end within the deadline of a store, however many keys were used."""
_PRUNE_EVERY: Seconds = HOUR

Spawn = Callable[[Callable[[], Awaitable[object]]], None]


class UsageRecorder:
    """Collects `uses`, `last_used_at` and refusals and hands them to a `UsageSink` once per `interval`.

    What a killed process has not flushed is lost: at most one `interval` of counts, and what the sink has not
    taken. A process that is closed in order loses nothing, and nothing is counted twice: a batch that may or may not
    have been written, because the sink says so or was cancelled over it, is not written again. It has at most 5,000
    keys, and is counted in `dropped`. The first count after a flush starts the timer of the
    next one, so an idle process has no task and writes nothing. There is one timer at a time; if it dies with its
    event loop, or hangs in a write, the counts of the next loop start another within two intervals.

    Args:
        sink: Where the counts go.
        clock: Tells when a key was used.
        spawn: Starts background work.
        interval: Seconds between two flushes.
        max_keys: Keys counted at one time; beyond that, counts of further keys are dropped (and counted in `dropped`).
        resolution: Seconds that a stored `last_used_at` may lag behind while the process runs; `close` writes it
            exactly. The counters are written each time.
        prune: Called about once an hour, after a flush; None: nothing is pruned.

    Attributes:
        dropped: Requests that were not counted, because there was no room, or that may not have been, because nobody
            knows what became of their batch.

    Raises:
        ConfigurationError: An interval that is not positive, a resolution that is negative, or no room for any key.
    """

    def __init__(
        self,
        sink: UsageSink,
        clock: Clock,
        *,
        spawn: Spawn,
        interval: Seconds = 10.0,
        max_keys: int = 1_000_000,
        resolution: Seconds = 0.0,
        prune: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        if not interval > 0:
            raise ConfigurationError("usage_interval must be positive; 10 seconds is the default")
        if max_keys < 1:
            raise ConfigurationError("max_keys must be at least 1; 1,000,000 is the default")
        if not 0 <= resolution < math.inf:
            raise ConfigurationError("last_used_resolution must be 0 or more seconds; 900 is the default")
        self._sink = sink
        self._clock = clock
        self._spawn = spawn
        self._interval = interval
        self._max_keys = max_keys
        self._resolution = resolution
        self._prune = prune
        self._pruned_at = -math.inf
        # Who is not in here has nothing to tell, and is closed.
        self._counts: dict[str, Tally] = {}
        self._refusals: dict[str, Counter[str]] = {}
        # What could not be written within its hour: it must not be counted in another one.
        self._overdue: dict[tuple[str, int], Usage] = {}
        # Past this instant, nobody is going to flush: there is no timer, or it died, or it hangs.
        self._alarm = -math.inf
        # The running timer's own event: set, it ends at once; replaced, it ends when it notices.
        self._closing = anyio.Event()
        # How many are closing us now. Not a flag: of two at a time, the first to be done must not start timers again.
        self._closers = 0
        # Of accepted requests, those that no tally holds any more.
        self._gone = 0
        self.dropped = 0

    def count(self, tally: Tally, now: Seconds) -> None:
        """Count one accepted request at `now` on the monotonic clock.

        While a tally is open, whoever holds it may count in it without calling this: one more use, the latest now.
        """
        self._add(tally, 1.0, now)
        if now > self._alarm:
            self._start_timer(now)
        if tally.uses:
            # Not for ever: a process that serves one key only would never notice that its timer has died.
            tally.open_until = self._alarm

    def counted(self) -> int:
        """Return how many accepted requests were counted since the start, dropped ones too; looks at every tally."""
        # A copy, made in one step: metrics are read in threads, and a dictionary must not change while it is looked at.
        return self._gone + int(sum(tally.uses for tally in list(self._counts.values())))

    def refuse(self, key_id: str, reason: str) -> None:
        """Count one refused request of a key that exists. Never on the hot path."""
        refusals = self._refusals.get(key_id)
        if refusals is not None:
            refusals[reason] += 1
        elif len(self._refusals) + len(self._overdue) < self._max_keys:
            self._refusals[key_id] = Counter([reason])
        else:
            self.dropped += 1
        now = self._clock.monotonic()
        if now > self._alarm:
            self._start_timer(now)

    async def flush(self) -> None:
        """Write everything counted so far; what certainly was not written is kept for the next flush.

        A batch that the timer is writing at this moment is not waited for.

        Raises:
            Exception: What the sink raises beyond Undecidable; what it was given then is kept too.
        """
        await self._flush(self._resolution)

    async def close(self, settle: Callable[[], Awaitable[object]] | None = None) -> None:
        """Stop the timer and write everything counted so far, until this returns; counting may begin again afterwards.

        No timer is started meanwhile: whoever waits for what was spawned would wait an interval for it.

        Args:
            settle: Waits for what was spawned. Called after a first flush; then what was counted since is written.
        """
        self._closers += 1
        try:
            self._closing.set()
            await self._flush(0.0)
            if settle is not None:
                await settle()
                await self._flush(0.0)
        finally:
            self._closers -= 1

    async def _flush(self, resolution: Seconds) -> None:
        waiting = self._taken()
        try:
            while waiting:
                held = await self._record(waiting, resolution)
                self._restore(held)
        except Undecidable as error:
            if waiting:
                _log.warning(
                    "usage of %d keys could not be written yet: %s",
                    len(waiting),
                    error,
                    extra={"event": "usage_delayed"},
                )
        finally:
            self._restore(waiting)

    async def _record(self, waiting: list[Usage], resolution: Seconds) -> list[Usage]:
        """Write one batch off the end of what waits; return what of it is to be written later."""
        batch = waiting[-_BATCH:]
        del waiting[-_BATCH:]
        try:
            held = await self._sink.record_usage(batch, resolution=resolution)
        except BaseException as error:
            if _left_undone(error):
                waiting += batch
            else:
                self._give_up(batch)
            raise
        return [usage for usage in batch if usage.key_id in held]

    def _give_up(self, batch: Sequence[Usage]) -> None:
        """Note what may never be written, since it must not be written twice."""
        _log.warning(
            "usage of %d keys may not have been written; it is not written again",
            len(batch),
            extra={"event": "usage_dropped"},
        )
        self.dropped += sum(map(_requests, batch))

    def _taken(self) -> list[Usage]:
        """Take out all that was counted, as it will be written."""
        counts, self._counts = self._counts, {}
        refusals, self._refusals = self._refusals, {}
        overdue, self._overdue = self._overdue, {}
        now = self._clock.wall()
        offset = now - self._clock.monotonic()
        waiting = [*overdue.values()]
        for key_id, tally in counts.items():
            refused = tuple(refusals.pop(key_id, {}).items())
            waiting.append(Usage(key_id, int(tally.uses), offset + tally.last, refused))
            self._gone += int(tally.uses)
            _close(tally)
        waiting += [Usage(key_id, 0, now, tuple(refused.items())) for key_id, refused in refusals.items()]
        return waiting

    async def _prune_now_and_then(self) -> None:
        now = self._clock.monotonic()
        if self._prune is None or now - self._pruned_at < _PRUNE_EVERY:
            return
        # Before, not after: a store that cannot prune must not be asked again with every flush.
        self._pruned_at = now
        try:
            await self._prune()
        except Undecidable as error:
            _log.warning("old usage could not be removed yet: %s", error, extra={"event": "usage_unpruned"})

    def _start_timer(self, now: Seconds) -> None:
        if self._closers:
            return
        self._alarm = now + 2 * self._interval
        self._closing = closing = anyio.Event()
        # Without an event loop, in plain code, nothing can be started: then `flush` and `close` write.
        with suppress(RuntimeError):
            self._spawn(partial(self._flush_regularly, closing))

    async def _flush_regularly(self, closing: anyio.Event) -> None:
        try:
            while self._waiting() and self._closing is closing and not closing.is_set():
                # Twice: a write that takes its time is no reason for a second timer beside this one.
                self._alarm = self._clock.monotonic() + 2 * self._interval
                with anyio.move_on_after(self._interval):
                    await closing.wait()
                await self.flush()
                await self._prune_now_and_then()
        finally:
            if self._closing is closing:
                self._alarm = -math.inf

    def _waiting(self) -> bool:
        return bool(self._counts or self._refusals or self._overdue)

    def _restore(self, batch: Iterable[Usage]) -> None:
        """Count again what was not written."""
        wall = self._clock.wall()
        offset, hour = wall - self._clock.monotonic(), wall // HOUR
        for usage in batch:
            if usage.last_used_at // HOUR != hour:
                self._put_off(usage)
                continue
            if usage.uses:
                tally = self._counts.get(usage.key_id) or Tally(usage.key_id)
                self._gone -= usage.uses
                self._add(tally, float(usage.uses), usage.last_used_at - offset)
            if usage.refusals:
                self._refusals.setdefault(usage.key_id, Counter()).update(dict(usage.refusals))

    def _put_off(self, usage: Usage) -> None:
        """Keep what belongs to an hour that is over."""
        place = (usage.key_id, int(usage.last_used_at // HOUR))
        other = self._overdue.get(place)
        if other is not None:
            usage = _sum(other, usage)
        elif len(self._overdue) + len(self._counts) >= self._max_keys:
            self.dropped += _requests(usage)
            return
        self._overdue[place] = usage

    def _add(self, tally: Tally, uses: float, last: Seconds) -> None:
        """Count more uses in a tally, which takes the place of the key's earlier one; or drop them."""
        earlier = self._counts.get(tally.key_id)
        if earlier is None and len(self._counts) + len(self._overdue) >= self._max_keys:
            self._gone += int(uses)
            self.dropped += int(uses)
            return
        if earlier is not None and earlier is not tally:
            # The verdict that counted there has been replaced.
            tally.uses, tally.last = earlier.uses, earlier.last
            _close(earlier)
        self._counts[tally.key_id] = tally
        tally.uses += uses
        tally.last = max(tally.last, last)


def _close(tally: Tally) -> None:
    """Empty a tally; its next use has to be told to the recorder."""
    tally.uses, tally.open_until = 0.0, -math.inf


def _left_undone(error: BaseException) -> bool:
    """Whether nothing was written. Who is cancelled does not know either: stores end a write that they have begun."""
    return isinstance(error, Exception) and not (isinstance(error, StoreUnavailable) and error.outcome_unknown)


def _requests(usage: Usage) -> int:
    return usage.uses + sum(number for _, number in usage.refusals)


def _sum(one: Usage, other: Usage) -> Usage:
    refusals = Counter(dict(one.refusals)) + Counter(dict(other.refusals))
    last = max(one.last_used_at, other.last_used_at)
    return Usage(one.key_id, one.uses + other.uses, last, tuple(refusals.items()))
