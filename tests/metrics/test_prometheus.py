"""Metrics for Prometheus: what is told, and what never is."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from asgi_apikey import APIKeys
from asgi_apikey.errors import InvalidKey, StoreUnavailable
from asgi_apikey.metrics.prometheus import KeysCollector, exposition, serve_metrics
from asgi_apikey.vitals import Vitals
from tests.servers import free_port

PEPPER = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"


class Fixed:
    """Tells what it was given."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def vitals(self) -> Vitals:
        """Tell it."""
        return self._vitals


FULL = Vitals(
    hits=10,
    reads=3,
    accepted=2,
    refusals={"revoked": 4, "overloaded": 1},
    remembered=5,
    shared_hits=6,
    shared_misses=7,
    shared_unsealed=8,
    usage_dropped=9,
    lease=1.5,
    position=42,
    feed_age=0.5,
    feed_failures=11,
    confirmed=12,
    unconfirmed=13,
    limited={"taken": 14},
    events_told=15,
    events_dropped=16,
    events_failed=17,
    messages={"delivered": 18},
)


def samples(text: str) -> dict[tuple[str, str], float]:
    """Every sample by its name and the label that is not `process`."""
    return {
        (sample.name, "".join(value for name, value in sample.labels.items() if name != "process")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_number_is_told() -> None:
    """Under a name that stays."""
    assert samples(exposition(Fixed(FULL)).decode()) == {
        ("asgi_apikey_verdicts_total", "accepted"): 12,
        ("asgi_apikey_verdicts_total", "revoked"): 4,
        ("asgi_apikey_verdicts_total", "overloaded"): 1,
        ("asgi_apikey_lookups_total", "memory"): 10,
        ("asgi_apikey_lookups_total", "shared"): 6,
        ("asgi_apikey_lookups_total", "shared_miss"): 7,
        ("asgi_apikey_lookups_total", "store"): 3,
        ("asgi_apikey_remembered_keys", ""): 5,
        ("asgi_apikey_usage_dropped_total", ""): 9,
        ("asgi_apikey_lease_seconds", ""): 1.5,
        ("asgi_apikey_feed_position", ""): 42,
        ("asgi_apikey_shared_unsealed_total", ""): 8,
        ("asgi_apikey_feed_age_seconds", ""): 0.5,
        ("asgi_apikey_feed_failures_total", ""): 11,
        ("asgi_apikey_changes_total", "confirmed"): 12,
        ("asgi_apikey_changes_total", "unconfirmed"): 13,
        ("asgi_apikey_limited_total", "taken"): 14,
        ("asgi_apikey_events_total", "told"): 15,
        ("asgi_apikey_events_total", "dropped"): 16,
        ("asgi_apikey_events_total", "failed"): 17,
        ("asgi_apikey_messages_total", "delivered"): 18,
    }


def test_what_there_is_not_is_not_told() -> None:
    """No feed and no shared cache, no series about them."""
    names = {name for name, _ in samples(exposition(Fixed(Vitals(hits=0, reads=0, accepted=0))).decode())}

    absent = ("lease", "feed", "shared", "changes", "limited", "messages")
    assert not any(each in name for name in names for each in absent)


def test_workers_of_one_address_are_kept_apart() -> None:
    """By the id of their process, or what they are called."""
    [named] = {
        sample.labels["process"]
        for family in KeysCollector(Fixed(FULL), process="w1").collect()
        for sample in family.samples
    }

    assert named == "w1"
    assert 'process="' in exposition(Fixed(FULL)).decode()


@pytest.mark.anyio
async def test_real_keys_are_counted_by_outcome_and_named_nowhere() -> None:
    """Accepted, from memory and from the store, and refused by reason; no key, id or owner in any label."""
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        good, ended = await keys.issue(owner="acme-canary"), await keys.issue(owner="acme-canary")
        await keys.revoke(ended.record.key_id)
        for presented in (good.key, good.key, ended.key, keys.format.generate("live").key, "x"):
            try:
                await keys.authenticate(presented.encode())
            except InvalidKey:
                continue
        text = exposition(keys).decode()

    told = samples(text)
    assert told["asgi_apikey_verdicts_total", "accepted"] == 2
    assert told["asgi_apikey_lookups_total", "memory"] == 1
    assert [told["asgi_apikey_verdicts_total", each] for each in ("revoked", "unknown", "malformed")] == [1, 1, 1]
    assert good.record.key_id not in text
    assert "canary" not in text


@pytest.mark.anyio
async def test_what_cannot_be_decided_is_counted_by_code() -> None:
    """So that an outage is not taken for bad keys."""
    keys = APIKeys("sqlite:////nonexistent/keys.db", pepper=PEPPER)
    with pytest.raises(StoreUnavailable):
        await keys.authenticate(keys.format.generate("live").key.encode())
    await keys.close()

    assert samples(exposition(keys).decode())["asgi_apikey_verdicts_total", "store_unavailable"] == 1


def test_they_are_served_on_loopback() -> None:
    """From a thread."""
    port = free_port()
    stop = serve_metrics(Fixed(FULL), port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read()
    finally:
        stop()

    assert b"asgi_apikey_verdicts_total" in text
