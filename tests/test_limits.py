"""Limits as they are written, compared and put together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.limits import (
    NOTHING,
    UNLIMITED,
    LimitPolicy,
    all_within,
    is_within,
    limit_rule,
    limit_rules,
    limit_text,
    name_of,
    text_of,
)
from asgi_apikey.measures import LimitRule, Period, Quota, Rate
from asgi_apikey.metering import FRESH, taken
from tests.contracts.meters import charges
from tests.contracts.repository import a_record

RATES = st.builds(Rate, st.integers(1, 999_999), st.integers(1, 31 * 86_400))
QUOTAS = st.builds(Quota, st.integers(1, 10**12 - 1), st.sampled_from([None, *Period]), st.booleans())


@pytest.mark.parametrize(
    ("text", "rule", "spelling"),
    [
        ("100/minute", Rate(100, 60), "100/minute"),
        ("100/minutes", Rate(100, 60), "100/minute"),
        ("5/60 seconds", Rate(5, 60), "5/minute"),
        ("5/15minutes", Rate(5, 900), "5/15 minutes"),
        ("1/second", Rate(1, 1), "1/second"),
        ("007/hour", Rate(7, 3_600), "7/hour"),
        ("3/24 hours", Rate(3, 86_400), "3/day"),
        ("quota 2000/day", Quota(2_000, Period.DAY), "quota 2000/day"),
        ("quota 5/hour", Quota(5, Period.HOUR), "quota 5/hour"),
        ("quota 5", Quota(5), "quota 5"),
        ("credits 500", Quota(500, None, True), "credits 500"),
        ("credits 500/month", Quota(500, Period.MONTH, True), "credits 500/month"),
    ],
)
def test_a_limit_has_one_spelling(text: str, rule: LimitRule, spelling: str) -> None:
    """However it was written, it is read as the same rule."""
    assert limit_rule(text) == rule
    assert limit_text(text) == spelling


@given(RATES | QUOTAS)
def test_every_rule_can_be_written_and_read(rule: LimitRule) -> None:
    """Without loss."""
    assert limit_rule(text_of(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "100", "100/", "/minute", "0/minute", "-1/minute", "1.5/minute", "100/fortnight", "100/0 minutes"),
        *("100/32 days", "10000000/minute", "100 / minute", " 100/minute", "100/minute ", "100/minute\n"),
        "\u0661/minute",
        *("quota", "quota 0/day", "quota 5/minute", "quota 5/2 days", "credits", "credits -5", "credits 1e3"),
        *("quota 1000000000000/day", "tokens 5/day", None, 5, b"100/minute"),
    ],
)
def test_what_is_no_limit_is_refused(text: object) -> None:
    """With what one looks like."""
    with pytest.raises(InvalidRequest, match="a limit is written as 100/minute"):
        limit_rule(text)


def test_a_key_has_one_limit_for_each_span() -> None:
    """Of two, nobody could say which one counts; and there are not many."""
    with pytest.raises(InvalidRequest, match="one for each span"):
        limit_rules(["100/minute", "50/minute"])
    with pytest.raises(InvalidRequest, match="at most 8"):
        limit_rules([f"1/{seconds} seconds" for seconds in range(1, 10)])

    assert len(limit_rules(["100/minute", "100/60 seconds", "quota 5/day", "credits 5/day", "5/day"])) == 4


@given(RATES, RATES, st.lists(st.integers(0, 400_000), max_size=30))
def test_whoever_keeps_to_a_rate_keeps_to_every_rate_that_it_is_within(
    rule: Rate, other: Rate, pauses: list[int]
) -> None:
    """Whatever requests the one lets in, the other would have."""
    assume(is_within(rule, other))
    [one], [two] = charges("1/second"), charges("1/second", subject="key k2")
    one, two = (replace(each, meter=replace(each.meter, rule=r)) for each, r in ((one, rule), (two, other)))
    now, mine, theirs = 0, FRESH, FRESH
    for pause in pauses:
        now += pause
        state = taken(one, mine, now)
        if state is not None:
            mine = state
            after = taken(two, theirs, now)
            assert after is not None
            theirs = after


@pytest.mark.parametrize(
    ("rule", "other", "within"),
    [
        ("100/minute", "100/minute", True),
        ("50/minute", "100/minute", True),
        ("101/minute", "100/minute", False),
        ("100/hour", "100/minute", True),
        ("2/second", "100/minute", False),
        ("1/second", "100/minute", True),
        ("quota 5/day", "quota 5/day", True),
        ("quota 6/day", "quota 5/day", False),
        ("quota 5", "quota 5/day", True),
        ("quota 5/day", "quota 5", False),
        ("quota 5/day", "quota 5/month", False),
        ("credits 5/day", "quota 5/day", False),
        ("quota 5/day", "100/minute", False),
    ],
)
def test_like_is_compared_with_like(rule: str, other: str, within: bool) -> None:
    """A rate with a rate, a quota with one of the same period."""
    assert is_within(limit_rule(rule), limit_rule(other)) is within


def test_no_limit_is_within_no_limit_only() -> None:
    """What is not limited is not within anything that is; and nothing at all is within everything."""
    some = frozenset({limit_rule("100/minute")})

    assert all_within(UNLIMITED, UNLIMITED)
    assert not all_within(UNLIMITED, some)
    assert not all_within(UNLIMITED, NOTHING)
    assert not all_within(some, NOTHING)
    assert all_within(some, UNLIMITED)
    assert all_within(NOTHING, NOTHING)


def test_a_policy_limits_nothing_by_default() -> None:
    """A key without limits has nothing to count."""
    assert LimitPolicy().meters(a_record()) is None


def test_what_a_record_says_never_loosens_the_policy() -> None:
    """Of two limits for the same span the tighter one counts; others stand beside each other."""
    policy = LimitPolicy(per_key=["100/minute", "quota 50/day"])
    meters = policy.meters(a_record(limits=frozenset({"500/minute", "quota 5/day", "credits 9"})))

    assert meters is not None
    assert sorted(each.label for each in meters) == ["100/minute", "credits 9", "quota 5/day"]
    assert len({(each.subject, each.name) for each in meters}) == 3


def test_a_key_and_its_successors_are_counted_as_one() -> None:
    """Else rotating a key would be a way to more."""
    policy = LimitPolicy(per_key=["1/day"])
    first = policy.meters(a_record("key1"))

    assert first == policy.meters(a_record("key2", lineage="key1"))
    assert first != policy.meters(a_record("key3"))


def test_all_keys_of_an_owner_share_what_the_owner_has() -> None:
    """In one tenant; names that look alike when written one after the other are different ones."""
    policy = LimitPolicy(per_owner=["1/day"])
    subjects = {
        (each.subject, each.name)
        for record in (
            a_record("key1", owner="b", tenant="a"),
            a_record("key2", owner="b", tenant="a"),
            a_record("key3", owner="ab", tenant=""),
            a_record("key4", owner="", tenant="ab"),
        )
        for each in policy.meters(record) or ()
    }

    assert len(subjects) == 3


def test_the_first_route_that_fits_says_what_a_request_costs() -> None:
    """Any other one costs 1; an odd spelling, as much as the dearest."""
    policy = LimitPolicy(costs={"GET /reports/free": 0, "/reports/*": 5, "POST /orders": 2})

    assert policy.cost("GET", "/reports/free") == 0
    assert policy.cost("POST", "/reports/free") == 5
    assert policy.cost("GET", "/reports/2026/all") == 5
    assert policy.cost("POST", "/orders") == 2
    assert policy.cost("GET", "/orders") == 1
    assert policy.cost("GET", None) == 5
    assert LimitPolicy(costs={"/free": 0}).cost("GET", None) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"per_key": "100/minute"}, "not a collection of limits"),
        ({"per_key": 5}, "not a collection of limits"),
        ({"per_owner": ["100"]}, "per_owner: a limit is written as"),
        ({"per_owner": ["1/day", "2/day"]}, "per_owner: a key has at most"),
        ({"costs": {"/x": -1}}, "a cost is a whole number"),
        ({"costs": {"/x": 1.5}}, "a cost is a whole number"),
        ({"costs": {"/x": True}}, "a cost is a whole number"),
        ({"costs": {"x": 1}}, "costs: the methods|costs: the path|costs: "),
        ({"costs": ["/x"]}, "mapping of routes"),
        ({"fail_open": "false"}, "neither True nor False"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(arguments: dict[str, object], message: str) -> None:
    """At once, by the name of the argument."""
    with pytest.raises(ConfigurationError, match=message):
        LimitPolicy(**arguments)  # type: ignore[arg-type] # that is the point


@given(RATES | QUOTAS, RATES | QUOTAS)
def test_names_are_shared_by_rules_that_differ_in_amount_alone(rule: LimitRule, other: LimitRule) -> None:
    """So a count goes on when its limit is amended, and only then."""
    assert (name_of(rule) == name_of(other)) == (replace(rule, amount=1) == replace(other, amount=1))
