"""The machine's clocks."""

from __future__ import annotations

import time

import pytest

from asgi_apikey import clock
from asgi_apikey.clock import SystemClock
from asgi_apikey.protocols import Clock


def test_the_wall_clock_is_unix_time() -> None:
    """Seconds since 1970, of this machine."""
    before = time.time()

    assert before <= SystemClock().wall() <= time.time()


def test_the_monotonic_clock_goes_on_while_the_machine_is_suspended() -> None:
    """On Linux it reads CLOCK_BOOTTIME, which counts suspended time; a verdict of last night is over in the morning."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    reference = time.monotonic if boot is None else lambda: time.clock_gettime(boot)
    before = reference()

    assert before <= SystemClock().monotonic() <= reference()


def test_the_monotonic_clock_never_goes_back() -> None:
    """A thousand readings in a row."""
    read = SystemClock().monotonic
    readings = [read() for _ in range(1_000)]

    assert readings == sorted(readings)


def test_a_platform_without_that_clock_has_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows: their monotonic clock is what there is."""
    monkeypatch.setattr(clock, "_BOOTTIME", None)

    assert SystemClock().monotonic is time.monotonic


def test_it_is_a_clock() -> None:
    """Plain C callables satisfy the protocol; the hot path calls them without a Python frame between."""
    ticking: Clock = SystemClock()

    assert not hasattr(ticking.wall, "__code__")
    assert not hasattr(ticking.monotonic, "__code__")
