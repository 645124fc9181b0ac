"""Paired rounds: every variant is timed in every round, close together, so that noise hits all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]
MakeScope = Callable[[], MutableMapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Timings:
    """Nanoseconds per call, one list per variant, equally long: entry i of each comes from round i."""

    calls: Mapping[str, list[float]]

    def added(self, name: str, baseline: str = "bare") -> float:
        """Median nanoseconds that a variant adds to the baseline in the same round."""
        return statistics.median(a - b for a, b in zip(self.calls[name], self.calls[baseline], strict=True))

    def ratio(self, name: str, over: str, baseline: str = "bare") -> float:
        """How much a variant adds to the baseline, as a multiple of what another one adds."""
        return self.added(name, baseline) / self.added(over, baseline)


async def receive() -> Any:
    """Never called by the apps measured here."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    """Where responses end."""


def drive(app: App, scopes: list[MutableMapping[str, Any]]) -> int:
    """Call the app once per scope without an event loop: none of the variants may suspend. Nanoseconds in all."""
    began = time.perf_counter_ns()
    for scope in scopes:
        try:
            app(scope, receive, send).send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("the app suspended: this is not the cached path")
    return time.perf_counter_ns() - began


def run(apps: Mapping[str, App], make_scope: MakeScope, *, rounds: int, calls: int) -> Timings:
    """Time `calls` calls of each app per round, in an order that changes from round to round."""
    timings: dict[str, list[float]] = {name: [] for name in apps}
    order = list(apps)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            scopes = [make_scope() for _ in range(calls)]
            timings[name].append(drive(apps[name], scopes) / calls)
    return Timings(timings)
