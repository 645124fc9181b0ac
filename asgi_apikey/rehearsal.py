"""New restrictions on trial: whom they would refuse is counted and logged, and nobody is refused."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Final

from asgi_apikey.errors import AuthenticationError
from asgi_apikey.logs import FIELDS
from asgi_apikey.models import MINUTE, Principal, Seconds
from asgi_apikey.protocols import Clock
from asgi_apikey.sampling import Sampler

_log = logging.getLogger("asgi_apikey")

_EVERY: Final[Seconds] = MINUTE
"""Between two log lines about one key and one reason."""


class Rehearsal:
    """Hears of requests that would have been refused.

    Args:
        clock: Monotonic time.

    Attributes:
        counts: How many there were, by the code of what would have been the answer.
    """

    def __init__(self, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._monotonic = clock.monotonic
        self._sampler = Sampler()

    def note(self, principal: Principal, refusal: AuthenticationError) -> None:
        """Count it, and log it at most once a minute for each key and reason."""
        code, key_id = refusal.code, principal.key_id
        self.counts[code] += 1
        times = self._sampler.due((key_id, code), self._monotonic(), every=_EVERY)
        if times:
            _log.warning(
                "key %s would be refused with %s, %d times since this was logged last; it is only reported",
                key_id,
                code,
                times,
                extra={"event": "would_refuse", FIELDS: {"key_id": key_id, "code": code, "times": times}},
            )
