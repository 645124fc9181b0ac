"""Metrics in the format of Prometheus. Needs the extra `prometheus`.

    registry = CollectorRegistry()
    registry.register(KeysCollector(keys))

No label holds anything that a client has sent, nor a key, its id or its owner: the number of series is fixed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from asgi_apikey.vitals import Vitals

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "asgi_apikey_"


class HasVitals(Protocol):
    """All that metrics need to know about keys; `APIKeys` is one."""

    def vitals(self) -> Vitals:
        """Return the counters and the state of this process."""
        ...


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
        verdicts = _counter("verdicts", "Presented keys by what was decided about them.", "outcome")
        for outcome, count in {"accepted": vitals.hits + vitals.accepted, **vitals.refusals}.items():
            verdicts.add_metric([outcome, process], count)
        tiers = _counter("lookups", "Where the answer about a presented key came from.", "tier")
        for tier, count in _tiers(vitals).items():
            tiers.add_metric([tier, process], count)
        yield verdicts
        yield tiers
        yield _one(_gauge("remembered_keys", "Keys held in memory."), vitals.remembered, process)
        yield _one(
            _counter("usage_dropped", "Requests whose use was not counted, or may not have been."),
            vitals.usage_dropped,
            process,
        )
        yield from _invalidation(vitals, process)


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


def _tiers(vitals: Vitals) -> dict[str, int]:
    shared = {} if vitals.shared_hits is None else {"shared": vitals.shared_hits, "shared_miss": vitals.shared_misses}
    return {"memory": vitals.hits, **shared, "store": vitals.reads}


def _invalidation(vitals: Vitals, process: str) -> Iterator[Metric]:
    """Whether changes of other processes arrive: nothing where there is no feed of changes, or no shared cache."""
    if vitals.lease is not None:
        yield _one(
            _gauge("lease_seconds", "Seconds for which memory may be trusted yet; 0 in a process without requests."),
            vitals.lease,
            process,
        )
    if vitals.position is not None:
        yield _one(_gauge("feed_position", "The last change that is applied here."), vitals.position, process)
    if vitals.shared_hits is not None:
        yield _one(
            _counter("shared_unsealed", "Entries of the shared cache that nobody with our secret has written."),
            vitals.shared_unsealed,
            process,
        )


def _counter(name: str, about: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, about, labels=[*labels, "process"])


def _gauge(name: str, about: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, about, labels=["process"])


def _one(family: CounterMetricFamily | GaugeMetricFamily, value: float, process: str) -> Metric:
    family.add_metric([process], value)
    return family
