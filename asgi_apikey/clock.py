"""The machine's two clocks, as the package's `Clock`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from asgi_apikey.models import Instant, Seconds

_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Wall time, and a monotonic time that goes on while the machine is suspended where the platform can.

    Linux stops CLOCK_MONOTONIC during suspend; a laptop that wakes up must not trust a verdict of last night,
    so CLOCK_BOOTTIME is used there (clock_gettime(2)). Both are plain C callables: one call costs 40 to 80 ns.
    """

    wall: Callable[[], Instant]
    monotonic: Callable[[], Seconds]

    def __init__(self) -> None:
        self.wall = time.time
        self.monotonic = time.monotonic if _BOOTTIME is None else partial(time.clock_gettime, _BOOTTIME)
