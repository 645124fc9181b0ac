"""Counts accepted requests in memory and writes them in batches, away from the requests."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.models import Seconds, Usage
from asgi_apikey.protocols import Clock, UsageSink

_log = logging.getLogger("asgi_apikey")

Spawn = Callable[[Callable[[], Awaitable[object]]], None]


class UsageRecorder:
    """Collects `uses` and `last_used_at` and hands them to a `UsageSink` once per `interval`.

    What a killed process has not flushed is lost: at most one `interval` of counts, and what the sink has not
    taken. A process that is closed in order loses nothing. The first count after a flush starts the timer of the
    next one, so an idle process has no task and writes nothing. There is one timer at a time; if it dies with its
    event loop, or hangs in a write, the counts of the next loop start another within two intervals.

    Args:
        sink: Where the counts go.
        clock: Tells when a key was used.
        spawn: Starts background work.
        interval: Seconds between two flushes.
        max_keys: Keys counted at one time; beyond that, counts of further keys are dropped (and counted in `dropped`).

    Raises:
        ConfigurationError: An interval that is not positive, or no room for any key.
    """

    def __init__(
        self, sink: UsageSink, clock: Clock, *, spawn: Spawn, interval: Seconds = 10.0, max_keys: int = 1_000_000
    ) -> None:
        if not interval > 0:
            raise ConfigurationError("usage_interval must be positive; 10 seconds is the default")
        if max_keys < 1:
            raise ConfigurationError("max_keys must be at least 1; 1,000,000 is the default")
        self._sink = sink
        self._clock = clock
        self._spawn = spawn
        self._interval = interval
        self._max_keys = max_keys
        self._counts: dict[str, list[float]] = {}
        # Past this instant, nobody is going to flush: there is no timer, or it died, or it hangs.
        self._alarm = -math.inf
        # The running timer's own event: set, it ends at once; replaced, it ends when it notices.
        self._closing = anyio.Event()
        self.dropped = 0

    def count(self, key_id: str, now: Seconds) -> None:
        """Count one accepted request at `now` on the monotonic clock. On the hot path: two stores in a list."""
        entry = self._counts.get(key_id)
        # The alarm is looked at for known keys too: a process that serves one key only would never see a new one.
        if entry is None or now > self._alarm:
            self._begin(key_id, now)
        else:
            entry[0] += 1.0
            entry[1] = now

    async def flush(self) -> None:
        """Write everything counted so far; what cannot be written now is kept for the next flush.

        A batch that the timer is writing at this moment is not waited for.

        Raises:
            Exception: What the sink raises beyond Undecidable; nothing is lost by it either.
        """
        counts, self._counts = self._counts, {}
        if not counts:
            return
        offset = self._clock.wall() - self._clock.monotonic()
        batch = [Usage(key_id, int(uses), offset + last) for key_id, (uses, last) in counts.items()]
        written = False
        try:
            await self._sink.record_usage(batch)
            written = True
        except Undecidable as error:
            _log.warning("usage of %d keys could not be written yet: %s", len(batch), error)
        finally:
            if not written:
                self._restore(counts)

    async def close(self) -> None:
        """Stop the timer and write everything counted so far. Counting may begin again afterwards."""
        self._closing.set()
        await self.flush()

    def _begin(self, key_id: str, now: Seconds) -> None:
        self._add(key_id, 1.0, now)
        if now > self._alarm:
            self._start_timer(now)

    def _start_timer(self, now: Seconds) -> None:
        self._alarm = now + 2 * self._interval
        self._closing = closing = anyio.Event()
        # Without an event loop, in plain code, nothing can be started: then `flush` and `close` write.
        with suppress(RuntimeError):
            self._spawn(partial(self._flush_regularly, closing))

    async def _flush_regularly(self, closing: anyio.Event) -> None:
        try:
            while self._counts and self._closing is closing and not closing.is_set():
                # Twice: a write that takes its time is no reason for a second timer beside this one.
                self._alarm = self._clock.monotonic() + 2 * self._interval
                with anyio.move_on_after(self._interval):
                    await closing.wait()
                await self.flush()
        finally:
            if self._closing is closing:
                self._alarm = -math.inf

    def _restore(self, counts: dict[str, list[float]]) -> None:
        for key_id, (uses, last) in counts.items():
            self._add(key_id, uses, last)

    def _add(self, key_id: str, uses: float, last: Seconds) -> None:
        entry = self._counts.get(key_id)
        if entry is not None:
            entry[0] += uses
            entry[1] = max(entry[1], last)
        elif len(self._counts) < self._max_keys:
            self._counts[key_id] = [uses, last]
        else:
            self.dropped += int(uses)
