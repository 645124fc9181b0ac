"""Stops asking whoever does not answer, so that only the first few callers wait for nothing."""

from __future__ import annotations

from typing import Final

from asgi_apikey.models import Seconds

FAILURES: Final = 3
PAUSE: Final[Seconds] = 1.0


class Breaker:
    """Opens after so many failures in a row, and then lets one caller try in every pause.

    Args:
        failures: In a row, after which it opens.
        pause: Seconds between two tries while it is open.
    """

    def __init__(self, *, failures: int = FAILURES, pause: Seconds = PAUSE) -> None:
        self._most = failures
        self._pause = pause
        self._failures = 0
        self._next_try_at: Seconds = 0.0

    def lets_through(self, now: Seconds) -> bool:
        """Whether to ask. While it is open, the one who is let through keeps all others out for a pause."""
        if self._failures < self._most:
            return True
        if now < self._next_try_at:
            return False
        self._next_try_at = now + self._pause
        return True

    def succeeded(self) -> None:
        """Note an answer: everybody may ask."""
        self._failures = 0

    def failed(self, now: Seconds) -> bool:
        """Note a failure; True if this one has opened it."""
        self._failures += 1
        self._next_try_at = now + self._pause
        return self._failures == self._most
