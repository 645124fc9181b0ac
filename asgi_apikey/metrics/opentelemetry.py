"""Metrics for OpenTelemetry. Needs the extra `otel`, and an SDK of the application's that collects them.

    observe(keys, get_meter("my-service"))

Names and labels are those of Prometheus, with dots: `asgi_apikey.verdicts` by `outcome`. Only the API is used here, so
without an SDK nothing is collected, and nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from asgi_apikey.metrics.series import SERIES, HasVitals, Series
from asgi_apikey.models import Seconds
from asgi_apikey.vitals import Vitals

_PREFIX: Final = "asgi_apikey."
_SECONDS: Final = "_seconds"
_SAME_LOOK: Final[Seconds] = 0.2
"""All series of one collection are read within this time, and should be of one instant."""


def observe(keys: HasVitals, meter: Meter) -> None:
    """Have a meter read how one `APIKeys` is doing, each time that it collects.

    The SDK collects in a thread of its own; what is read there are counters that no request waits for.

    Args:
        keys: Whose vitals.
        meter: Of the application; its provider's resource tells processes apart.
    """
    look = _Look(keys)
    for series in SERIES:
        create: Callable[..., object] = (
            meter.create_observable_counter if series.counts else meter.create_observable_gauge
        )
        read = partial(_observed, look, series)
        create(name_of(series), callbacks=[read], unit=series.unit, description=series.about)


def name_of(series: Series) -> str:
    """Return a metric's name: the unit stands beside it, and not in it (OpenTelemetry semantic conventions)."""
    return _PREFIX + series.name.removesuffix(_SECONDS)


class _Look:
    """The vitals of one instant, for all series that are collected together."""

    def __init__(self, keys: HasVitals) -> None:
        self._keys = keys
        self._seen: tuple[Seconds, Vitals] | None = None

    def vitals(self) -> Vitals:
        now, seen = time.monotonic(), self._seen
        if seen is None or now - seen[0] > _SAME_LOOK:
            self._seen = seen = (now, self._keys.vitals())
        return seen[1]


def _observed(look: _Look, series: Series, options: CallbackOptions) -> Iterable[Observation]:
    for label, value in series.read(look.vitals()).items():
        yield Observation(value, {series.label: label} if series.label else {})
