"""Metrics for OpenTelemetry: the same numbers under the same names as for Prometheus."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, InMemoryMetricReader, Sum

from asgi_apikey import APIKeys
from asgi_apikey.errors import InvalidKey
from asgi_apikey.metrics.opentelemetry import name_of, observe
from asgi_apikey.metrics.prometheus import exposition
from asgi_apikey.metrics.series import SERIES, HasVitals
from asgi_apikey.vitals import Vitals
from tests.metrics.test_prometheus import FULL, PEPPER, Fixed, samples


def collected(keys: HasVitals) -> dict[tuple[str, str], float]:
    """Every value by its name and its label."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observe(keys, provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    metrics = [each for resource in data.resource_metrics for scope in resource.scope_metrics for each in scope.metrics]
    found: dict[tuple[str, str], float] = {}
    for metric in metrics:
        assert isinstance(metric.data, Sum | Gauge)
        for point in metric.data.data_points:
            found[metric.name, "".join(map(str, (point.attributes or {}).values()))] = point.value
    return found


def test_both_kinds_of_metrics_say_the_same() -> None:
    """Name by name, label by label."""
    told = {
        (name.replace("asgi_apikey_", "asgi_apikey.").removesuffix("_total").removesuffix("_seconds"), label): value
        for (name, label), value in samples(exposition(Fixed(FULL)).decode()).items()
    }

    assert collected(Fixed(FULL)) == told


def test_what_there_is_not_is_not_told() -> None:
    """No feed, no shared cache, no webhooks: no series about them."""
    names = {name for name, _ in collected(Fixed(Vitals(hits=0, reads=0, accepted=0)))}

    assert names == {
        f"asgi_apikey.{each}" for each in ("verdicts", "lookups", "remembered_keys", "usage_dropped", "events")
    }


def test_names_are_their_own() -> None:
    """Two series under one name would be added up."""
    assert len({name_of(each) for each in SERIES}) == len(SERIES)


class Counting:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def vitals(self) -> Vitals:
        """Tell what is always the same."""
        self.asked += 1
        return FULL


def test_one_collection_is_one_look() -> None:
    """All numbers are of one instant, and looking at every key in use is done once."""
    keys = Counting()
    collected(keys)

    assert keys.asked == 1


@pytest.mark.anyio
async def test_real_keys_are_named_nowhere() -> None:
    """No key, id or owner in any label; as many series however many keys there are."""
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        counts = set()
        for number in range(3):
            issued = await keys.issue(owner=f"canary{number}")
            await keys.authenticate(issued.key.encode())
            with pytest.raises(InvalidKey):
                await keys.authenticate(keys.format.generate("live").key.encode())
            told = collected(keys)
            counts.add(len(told))
            assert issued.record.key_id not in repr(told)

    assert "canary" not in repr(told)
    assert len(counts) == 1
    assert told["asgi_apikey.verdicts", "accepted"] == 3
