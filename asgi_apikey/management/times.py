"""Instants on the wire: RFC 3339, read and written as `datetime`."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

from asgi_apikey.models import Instant

_LAST: Final = 253_402_300_799.0
"""The last second of the year 9999."""


def instant_of(time: datetime | None) -> Instant | None:
    """Return the Unix seconds of a time that has an offset."""
    return None if time is None else time.timestamp()


def time_of(instant: Instant) -> datetime:
    """Return the time in UTC."""
    return datetime.fromtimestamp(instant, UTC)


def time_or_none(instant: Instant | None) -> datetime | None:
    """Return the time in UTC, or None."""
    return None if instant is None else time_of(instant)


def bound_of(until: Instant) -> datetime | None:
    """Return the time up to which something is granted; None: for ever. `-inf`, which is never, is 1970."""
    return None if until == math.inf else time_of(min(max(until, 0.0), _LAST))
