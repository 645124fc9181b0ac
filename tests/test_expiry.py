"""How long keys live: the default, and the bounds."""

from __future__ import annotations

import math

import pytest

from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.expiry import ExpiryPolicy
from asgi_apikey.models import KeyRequest

NOW = 1_000.0
BOUND = ExpiryPolicy(default=50.0, least=10.0, most=100.0)


@pytest.mark.parametrize(
    ("policy", "lifetime"),
    [
        (ExpiryPolicy(), None),
        (ExpiryPolicy(default=50.0), 50.0),
        (ExpiryPolicy(most=100.0), 100.0),
        (BOUND, 50.0),
    ],
)
def test_a_key_without_an_end_gets_the_default(policy: ExpiryPolicy, lifetime: float | None) -> None:
    """Or, where every key must have an end, the latest one."""
    assert policy.applied(KeyRequest(owner="o"), NOW).expires_in == lifetime


@pytest.mark.parametrize("lifetime", [10.0, 50.0, 100.0])
def test_an_end_within_the_bounds_stays_as_asked_for(lifetime: float) -> None:
    """Both bounds included, given either way."""
    for request in (KeyRequest(owner="o", expires_in=lifetime), KeyRequest(owner="o", expires_at=NOW + lifetime)):
        assert BOUND.applied(request, NOW) == request


@pytest.mark.parametrize("lifetime", [9.9, 100.1, math.nan, math.inf, -1.0])
def test_an_end_outside_the_bounds_is_refused(lifetime: float) -> None:
    """Too short is refused as well: it was meant otherwise, or the key should be revoked."""
    for request in (KeyRequest(owner="o", expires_in=lifetime), KeyRequest(owner="o", expires_at=NOW + lifetime)):
        with pytest.raises(InvalidRequest, match="a key lives at"):
            BOUND.applied(request, NOW)


def test_a_bound_counts_from_the_creation() -> None:
    """So amending the end again and again makes no key live for ever."""
    BOUND.check(NOW + 100.0, created_at=NOW)
    with pytest.raises(InvalidRequest, match="rotate"):
        BOUND.check(NOW + 200.0, created_at=NOW)
    with pytest.raises(InvalidRequest, match="at most"):
        BOUND.check(None, created_at=NOW)
    ExpiryPolicy(default=50.0).check(None, created_at=NOW)


def test_a_successor_moves_inside_the_bounds_of_today() -> None:
    """A policy that came after the key holds from the next rotation on."""
    assert [BOUND.renewed(lifetime) for lifetime in (None, 5.0, 60.0, 500.0)] == [100.0, 10.0, 60.0, 100.0]
    assert [ExpiryPolicy().renewed(lifetime) for lifetime in (None, 60.0)] == [None, 60.0]


@pytest.mark.parametrize(
    "bounds",
    [
        {"default": 0.0},
        {"default": -1.0},
        {"most": math.inf},
        {"most": math.nan},
        {"least": -1.0},
        {"least": 10.0, "most": 5.0},
        {"default": 10.0, "most": 5.0},
        {"least": 10.0, "default": 5.0},
    ],
)
def test_bounds_that_contradict_each_other_are_refused(bounds: dict[str, float]) -> None:
    """When the policy is made, with the fix in the message."""
    with pytest.raises(ConfigurationError, match="ExpiryPolicy"):
        ExpiryPolicy(**bounds)
