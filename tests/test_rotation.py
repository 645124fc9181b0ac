"""Which keys of a lineage go when one of them gets a successor."""

from __future__ import annotations

from typing import Any

import pytest

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import DAY, At, KeyRecord, RecordPatch
from asgi_apikey.rotation import is_retirable, lifetime_of, rotation
from tests.fakes import NOON
from tests.records import a_record

FIRST = a_record("k1")
IN_GRACE = a_record("k1", expires_at=NOON + 100.0, version=2)


def successor(**facts: Any) -> KeyRecord:
    """The key that replaces `k1`."""
    return a_record(**{"key_id": "k2", "lineage": "k1", "replaces": "k1"} | facts)


def test_the_replaced_key_gets_a_day() -> None:
    """Unless a grace is given."""
    assert rotation(FIRST, [FIRST], NOON, grace=None).ending == RecordPatch(expires_at=NOON + DAY)
    assert rotation(FIRST, [FIRST], NOON, grace=5.0).ending == RecordPatch(expires_at=NOON + 5.0)


def test_a_successor_that_nobody_has_used_is_retired() -> None:
    """And the replaced key keeps the grace of the first time."""
    plan = rotation(IN_GRACE, [IN_GRACE, successor(version=3)], NOON, grace=None)

    assert plan.retired == (At("k2", 3),)
    assert plan.ending == RecordPatch()


@pytest.mark.parametrize(("grace", "end"), [(0.0, NOON), (50.0, NOON + 50.0), (500.0, NOON + 100.0)])
def test_a_shorter_grace_is_obeyed_the_second_time_too(grace: float, end: float) -> None:
    """After a leak, rotating again without grace ends the old key; a longer one revives nothing."""
    plan = rotation(IN_GRACE, [IN_GRACE, successor()], NOON, grace=grace)

    assert plan.ending == RecordPatch(expires_at=end)


def test_a_grace_that_was_taken_away_is_given_again() -> None:
    """A replaced key whose end somebody has removed does not go on for ever."""
    assert rotation(FIRST, [successor()], NOON, grace=None).ending == RecordPatch(expires_at=NOON + DAY)


@pytest.mark.parametrize("facts", [{"uses": 1}, {"last_used_at": NOON - 1.0}])
def test_a_successor_in_use_is_not_given_up(facts: dict[str, Any]) -> None:
    """Whoever rotates again is told which key to rotate."""
    with pytest.raises(InvalidRequest, match="k2 is in use"):
        rotation(IN_GRACE, [successor(**facts)], NOON, grace=None)


@pytest.mark.parametrize("facts", [{"revoked_at": NOON - 1.0}, {"expires_at": NOON}])
def test_a_dead_successor_is_in_nobodys_way(facts: dict[str, Any]) -> None:
    """It is neither retired once more nor counted."""
    assert rotation(IN_GRACE, [successor(uses=9, **facts)], NOON, grace=None).retired == ()


def test_a_third_live_key_is_refused() -> None:
    """The old one still works: rotating its successor would leave three."""
    new = successor(uses=5)

    with pytest.raises(InvalidRequest, match="k1 of the same lineage"):
        rotation(new, [IN_GRACE, new], NOON, grace=None)
    assert rotation(new, [IN_GRACE, new], NOON, grace=0.0).ending == RecordPatch(expires_at=NOON)
    assert rotation(new, [IN_GRACE, new], NOON + 100.0, grace=None).retired == ()


def test_a_disabled_key_counts_as_live() -> None:
    """It can be enabled at any time."""
    new, off = successor(uses=5), a_record("k1", disabled_at=NOON)

    with pytest.raises(InvalidRequest, match="same lineage"):
        rotation(new, [off, new], NOON, grace=None)


@pytest.mark.parametrize("facts", [{"revoked_at": NOON}, {"disabled_at": NOON}, {"expires_at": NOON}])
def test_only_an_active_key_is_rotated(facts: dict[str, Any]) -> None:
    """Also when a successor is there already."""
    record = a_record("k1", **facts)
    for lineage in ([record], [record, successor()]):
        with pytest.raises(InvalidRequest, match="only an active key"):
            rotation(record, lineage, NOON, grace=None)


def test_keys_of_another_lineage_are_left_alone() -> None:
    """Whatever they say they replace."""
    assert rotation(FIRST, [successor(lineage="other")], NOON, grace=None).retired == ()


def test_what_may_be_retired_is_an_unused_direct_successor() -> None:
    """The question that decides whether counts must be written first."""
    assert is_retirable(FIRST, successor())
    assert not is_retirable(FIRST, successor(uses=1))
    assert not is_retirable(FIRST, successor(revoked_at=NOON))
    assert not is_retirable(FIRST, successor(replaces="k0"))


def test_the_lifetime_is_the_one_that_was_given() -> None:
    """A rotation shortens it; then it stands in the newest successor, whatever became of those between."""
    first = a_record("k1", expires_at=NOON + 5.0)
    second = successor(created_at=NOON + 1.0, expires_at=NOON + 9.0, revoked_at=NOON)
    third = a_record("k3", replaces="k2", created_at=NOON + 2.0, expires_at=NOON + 92.0)

    assert lifetime_of(first, [first]) == 5.0
    assert lifetime_of(first, [first, second, third]) == lifetime_of(second, [third, second]) == 90.0
    assert lifetime_of(a_record("k1"), []) is None
    assert lifetime_of(first, [successor(), a_record("k1", replaces="k2")]) is None
