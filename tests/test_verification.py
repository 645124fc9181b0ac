"""Standing: may a record be used at an instant, and how long does that answer hold."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import DisabledKey, ExpiredKey, InvalidKey, NotYetValid, RevokedKey, WrongEnvironment
from asgi_apikey.models import Instant, Principal, Status
from asgi_apikey.verification import next_turn, principal_of, rejection_of, status_of
from tests.fakes import NOON
from tests.records import a_record

INSTANTS = st.integers(min_value=0, max_value=12).map(lambda step: NOON + step)
MAYBE = st.none() | INSTANTS


@pytest.mark.parametrize(
    ("now", "status"),
    [
        (NOON - 0.001, Status.NOT_YET_VALID),
        (NOON, Status.ACTIVE),
        (NOON + 9.999, Status.ACTIVE),
        (NOON + 10, Status.EXPIRED),
    ],
)
def test_a_key_starts_at_its_start_and_ends_at_its_end(now: Instant, status: Status) -> None:
    """`not_before` is the first instant at which a key works, `expires_at` the first at which it does not."""
    record = a_record(not_before=NOON, expires_at=NOON + 10)

    assert status_of(record, now) is status


def test_a_key_without_a_start_and_an_end_always_works() -> None:
    """No instant is before or after it."""
    assert {status_of(a_record(), now) for now in (0.0, NOON, 253_402_300_799.0)} == {Status.ACTIVE}


def test_what_cannot_be_undone_is_named_first() -> None:
    """Revoked, then expired, then disabled, then not yet valid, whatever else holds too."""
    facts = [
        ("revoked_at", NOON - 5, Status.REVOKED),
        ("expires_at", NOON, Status.EXPIRED),
        ("disabled_at", NOON - 5, Status.DISABLED),
        ("not_before", NOON + 5, Status.NOT_YET_VALID),
    ]
    for some in itertools.chain.from_iterable(itertools.combinations(facts, size) for size in (1, 2, 3, 4)):
        record = a_record(**{name: at for name, at, _ in some})

        assert status_of(record, NOON) is some[0][2]


@pytest.mark.parametrize("at", [0.0, NOON + 1_000])
def test_revoked_and_disabled_are_facts_and_not_dates(at: Instant) -> None:
    """A key is revoked or disabled once the column is set: even when the clock that set it was ahead of ours."""
    assert status_of(a_record(revoked_at=at), NOON) is Status.REVOKED
    assert status_of(a_record(disabled_at=at), NOON) is Status.DISABLED


@pytest.mark.parametrize(
    ("facts", "rejection"),
    [
        ({"revoked_at": NOON}, RevokedKey),
        ({"expires_at": NOON}, ExpiredKey),
        ({"disabled_at": NOON}, DisabledKey),
        ({"not_before": NOON + 1}, NotYetValid),
        ({"environment": "test"}, WrongEnvironment),
        ({"environment": "test", "revoked_at": NOON}, WrongEnvironment),
    ],
)
def test_a_rejection_says_why_and_which_key(facts: dict[str, Any], rejection: type[InvalidKey]) -> None:
    """Every standing but `active` has an error of its own, which carries the key id for the log."""
    found = rejection_of(a_record(**facts), environment="live", now=NOON)

    assert type(found) is rejection
    assert found.key_id == "k1"


def test_an_active_key_is_not_rejected() -> None:
    """In its own environment."""
    assert rejection_of(a_record(), environment="live", now=NOON) is None


def test_a_rejection_is_a_new_object_each_time() -> None:
    """One exception object raised by many requests would collect all their tracebacks."""
    record = a_record(revoked_at=NOON)

    first, second = (rejection_of(record, environment="live", now=NOON) for _ in range(2))

    assert first is not second


@given(MAYBE, MAYBE, INSTANTS, INSTANTS)
def test_a_standing_holds_until_the_next_turn_and_not_beyond(
    start: Instant | None, end: Instant | None, now: Instant, later: Instant
) -> None:
    """Between an instant and `next_turn` nothing changes by time alone; at it, unless hidden by the end, it does."""
    record = a_record(not_before=start, expires_at=end)
    turn = next_turn(record, now)

    if turn is None or now <= later < turn:
        assert status_of(record, max(now, later)) is status_of(record, now)
    if turn is not None:
        assert turn > now
        assert status_of(record, turn) is not status_of(record, now) or status_of(record, now) is Status.EXPIRED


def test_the_principal_carries_the_record_and_no_digest() -> None:
    """Everything a handler may need, and nothing that could be verified against."""
    record = a_record(
        tenant="t", environment="test", name="ci", scopes=frozenset({"a"}), metadata={"plan": "pro"}, expires_at=NOON
    )

    principal = principal_of(record)

    assert principal == Principal(
        key_id="k1",
        owner="acme",
        tenant="t",
        environment="test",
        name="ci",
        scopes=frozenset({"a"}),
        metadata={"plan": "pro"},
        expires_at=NOON,
        method="api_key",
    )
    assert not any(record.digest in str(getattr(principal, name)) for name in Principal.__slots__)
