"""Metrics in the format of Prometheus. Needs the extra `prometheus`.

    registry = CollectorRegistry()
    registry.register(KeysCollector(keys))

No label holds anything that a client has sent, nor a key, its id or its owner: the number of series is fixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from asgi_apikey.metrics.series import PREFIX, SERIES, HasVitals, Series

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class KeysCollector:
    """Tells a Prometheus registry how one `APIKeys` is doing.

    Args:
        keys: Whose vitals.
        process: The label `process` of every series, which keeps apart the workers of one address; empty: the id of
            the process, as it is when it is asked.
    """

    def __init__(self, keys: HasVitals, *, process: str = "") -> None:
        self._keys = keys
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        vitals, process = self._keys.vitals(), self._process or str(os.getpid())
        for series in SERIES:
            if values := series.read(vitals):
                family = _family(series)
                for label, value in values.items():
                    family.add_metric([label, process] if series.label else [process], value)
                yield family


def exposition(keys: HasVitals) -> bytes:
    """Return the metrics of one `APIKeys` as Prometheus reads them."""
    return generate_latest(_registry(keys))


def serve_metrics(keys: HasVitals, port: int) -> Callable[[], None]:
    """Serve the metrics of one `APIKeys` on a loopback port, from a thread that ends with the process.

    Returns:
        Ends it sooner.

    Raises:
        OSError: The port is taken.
    """
    server, thread = start_http_server(port, addr="127.0.0.1", registry=_registry(keys))

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _registry(keys: HasVitals) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(KeysCollector(keys))
    return registry


def _family(series: Series) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if series.counts else GaugeMetricFamily
    labels = [series.label, "process"] if series.label else ["process"]
    return kind(PREFIX + series.name, series.about, labels=labels)
