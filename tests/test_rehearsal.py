"""Restrictions on trial."""

from __future__ import annotations

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.errors import NetworkNotAllowed, RouteNotAllowed
from asgi_apikey.models import MINUTE, Principal
from asgi_apikey.rehearsal import Rehearsal
from tests.fakes import FakeClock
from tests.wiring import PEPPER

ALICE, BOB = Principal(key_id="k1", owner="alice"), Principal(key_id="k2", owner="bob")


def test_each_is_counted_and_each_key_and_reason_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With how many there were; a flood of one key fills no log."""
    clock = FakeClock()
    rehearsal = Rehearsal(clock)

    for _ in range(5):
        rehearsal.note(ALICE, NetworkNotAllowed())
    rehearsal.note(ALICE, RouteNotAllowed())
    rehearsal.note(BOB, NetworkNotAllowed())
    clock.advance(MINUTE)
    rehearsal.note(ALICE, NetworkNotAllowed())

    assert rehearsal.counts == {"network_not_allowed": 7, "route_not_allowed": 1}
    fields = [each.fields for each in caplog.records]  # type: ignore[attr-defined]
    assert [(each["key_id"], each["code"], each["times"]) for each in fields] == [
        ("k1", "network_not_allowed", 1),
        ("k1", "route_not_allowed", 1),
        ("k2", "network_not_allowed", 1),
        ("k1", "network_not_allowed", 5),
    ]


def test_the_vitals_tell_the_counts() -> None:
    """For metrics."""
    keys = APIKeys("memory:", pepper=PEPPER)
    keys.rehearsal.note(ALICE, NetworkNotAllowed())

    assert keys.vitals().would_refuse == {"network_not_allowed": 1}
