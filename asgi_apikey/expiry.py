"""Pure rules of a key's lifetime: what it is when nobody says, and between which bounds it may be chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import Instant, KeyRequest, Seconds

# Instants are rounded to the millisecond, so a lifetime of exactly the bound may come out as that much more or less.
_SLACK: Seconds = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryPolicy:
    """How long keys live, counted from their creation: amending the end later is bound by it too.

    Attributes:
        default: Seconds, for a key that is issued without an end; None: it has none, or `most`, if there is one.
        least: The shortest lifetime, in seconds.
        most: The longest, in seconds. With it every key has an end; who needs more time rotates.

    Raises:
        ConfigurationError: Not positive and finite, or not `least <= default <= most`.
    """

    default: Seconds | None = None
    least: Seconds = 0.0
    most: Seconds | None = None

    def __post_init__(self) -> None:
        bounds = [self.least, *(each for each in (self.default, self.most) if each is not None)]
        # Negated, so that NaN is refused too.
        if not all(0 <= each < math.inf for each in bounds) or bounds != sorted(bounds) or 0 in bounds[1:]:
            raise ConfigurationError(
                "an expiry policy has positive, finite seconds with least <= default <= most; "
                "write ExpiryPolicy(default=90 * DAY, most=365 * DAY)"
            )

    def applied(self, request: KeyRequest, now: Instant) -> KeyRequest:
        """Return the request with the end that its key will have.

        Raises:
            InvalidRequest: The end that it asks for is too early or too late.
        """
        if request.expires_in is None and request.expires_at is None:
            lifetime = self.most if self.default is None else self.default
            return request if lifetime is None else replace(request, expires_in=lifetime)
        for end in (request.expires_at, None if request.expires_in is None else now + request.expires_in):
            if end is not None:
                self.check(end, created_at=now)
        return request

    def check(self, end: Instant | None, *, created_at: Instant) -> None:
        """Check the end of a key.

        Raises:
            InvalidRequest: It lies outside the bounds, or there must be one.
        """
        lifetime = math.inf if end is None else end - created_at
        if self.most is not None and not lifetime <= self.most + _SLACK:
            raise InvalidRequest(f"a key lives at most {self.most:g} seconds from its creation; rotate it after that")
        if self.least and not lifetime >= self.least - _SLACK:
            raise InvalidRequest(f"a key lives at least {self.least:g} seconds; revoke it to end it sooner")

    def renewed(self, lifetime: Seconds | None) -> Seconds | None:
        """Return the lifetime of a successor: that of the replaced key, moved inside the bounds of today."""
        if lifetime is None:
            return self.most
        return max(self.least, lifetime if self.most is None else min(lifetime, self.most))
