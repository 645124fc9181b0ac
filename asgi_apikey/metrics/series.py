"""What is told of one process, under which names: the one list that every kind of metrics follows.

No label holds anything that a client has sent, nor a key, its id or its owner: the number of series is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from asgi_apikey.vitals import Vitals

PREFIX: Final = "asgi_apikey_"


class HasVitals(Protocol):
    """All that metrics need to know about keys; `APIKeys` is one."""

    def vitals(self) -> Vitals:
        """Return the counters and the state of this process."""
        ...


@dataclass(frozen=True, slots=True)
class Series:
    """One metric.

    Attributes:
        name: Without the prefix; of a counter, without `_total`.
        about: For people.
        read: Returns the values by their labels; none where there is nothing to tell.
        label: What tells the values apart; empty: there is one at most, under an empty label.
        counts: Whether it only ever grows while the process lives.
        unit: As OpenTelemetry writes it (UCUM).
    """

    name: str
    about: str
    read: Callable[[Vitals], Mapping[str, float]]
    label: str = ""
    counts: bool = True
    unit: str = "1"


def _one(value: float | None) -> Mapping[str, float]:
    return {} if value is None else {"": value}


def _verdicts(vitals: Vitals) -> Mapping[str, float]:
    return {"accepted": vitals.hits + vitals.accepted, **vitals.refusals}


def _tiers(vitals: Vitals) -> Mapping[str, float]:
    shared = {} if vitals.shared_hits is None else {"shared": vitals.shared_hits, "shared_miss": vitals.shared_misses}
    return {"memory": vitals.hits, **shared, "store": vitals.reads}


def _unsealed(vitals: Vitals) -> Mapping[str, float]:
    return {} if vitals.shared_hits is None else {"": vitals.shared_unsealed}


def _changes(vitals: Vitals) -> Mapping[str, float]:
    return {} if vitals.lease is None else {"confirmed": vitals.confirmed, "unconfirmed": vitals.unconfirmed}


def _feed_failures(vitals: Vitals) -> Mapping[str, float]:
    return {} if vitals.lease is None else {"": vitals.feed_failures}


def _events(vitals: Vitals) -> Mapping[str, float]:
    return {"told": vitals.events_told, "dropped": vitals.events_dropped, "failed": vitals.events_failed}


SERIES: Final = (
    Series("verdicts", "Presented keys by what was decided about them.", _verdicts, "outcome"),
    Series("lookups", "Where the answer about a presented key came from.", _tiers, "tier"),
    Series("remembered_keys", "Keys held in memory.", lambda each: _one(each.remembered), counts=False),
    Series(
        "usage_dropped",
        "Requests whose use was not counted, or may not have been.",
        lambda each: _one(each.usage_dropped),
    ),
    Series(
        "lease_seconds",
        "Seconds for which memory may be trusted yet; 0 in a process without requests.",
        lambda each: _one(each.lease),
        counts=False,
        unit="s",
    ),
    Series(
        "feed_age_seconds",
        "Seconds since the change feed was last asked and answered; grows in a process without requests.",
        lambda each: _one(each.feed_age),
        counts=False,
        unit="s",
    ),
    Series("feed_position", "The last change that is applied here.", lambda each: _one(each.position), counts=False),
    Series("feed_failures", "Attempts to read the change feed that failed.", _feed_failures),
    Series("changes", "Changes made here by whether they were known everywhere at once.", _changes, "receipt"),
    Series("shared_unsealed", "Entries of the shared cache that nobody with our secret has written.", _unsealed),
    Series(
        "would_refuse",
        "Requests that a restriction on trial would have refused.",
        lambda each: each.would_refuse,
        "code",
    ),
    Series("limited", "Requests with limits by what became of them.", lambda each: each.limited, "outcome"),
    Series("events", "Events by what became of them, once for each hook.", _events, "outcome"),
    Series("messages", "Messages to webhooks by what became of them.", lambda each: each.messages, "outcome"),
)
