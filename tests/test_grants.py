"""Delegation: whatever a granted key may do, its granter may do."""

from __future__ import annotations

import math
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgi_apikey.grants import EVERYTHING, Grant, excess, grant_of
from asgi_apikey.limits import UNLIMITED
from asgi_apikey.models import KeyRecord
from asgi_apikey.origins import origin_rules
from asgi_apikey.policy import EVERY_ROUTE, EVERYWHERE, missing_scopes, network_rules, route_rules

ALL = Grant(
    scopes=frozenset({"*", "apikeys:*"}),
    tenants=EVERYTHING,
    owners=EVERYTHING,
    environments=EVERYTHING,
    networks=EVERYWHERE,
    routes=EVERY_ROUTE,
    limits=UNLIMITED,
    origins=EVERYTHING,
    until=math.inf,
)

# A small world, in which every single thing that could be done can be tried.
SCOPES = ["a", "a.b", "a.c", "a.b.c", "a:b", "b", "*", "a.*", "a:*", "a.b.*", "apikeys:read", "apikeys:*"]
NAMES = ["x", "y"]
NETWORKS = ["10.0.0.0/30", "10.0.0.0/31", "10.0.0.2/31", "10.0.0.1", "10.0.0.2", "0.0.0.0/0", "::/126", "::/127"]
NETWORKS += ["::2", "::ffff:10.0.0.0/127"]
ADDRESSES = [f"10.0.0.{number}" for number in range(5)] + [str(ip_address("::1") + number) for number in range(-1, 4)]
ADDRESSES += ["::ffff:10.0.0.1"]
PATTERNS = ["/*", "/a/*", "/a/b/*", "/a", "/a/b", "/a/b/c", "/b"]
PATHS = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/a/c", "/b", "/b/a"]
METHODS = ["GET", "HEAD", "POST", "WEBSOCKET"]
PAGES = ["https://a.example.com", "https://b.example.com", "https://*.example.com", "https://*.b.example.com"]
ORIGINS = [None, "https://example.com", "https://a.b.example.com", *PAGES[:2], "https://c.example.com", "null"]
TIMES = [1.0, 2.0, 3.0, math.inf]

rules = st.one_of(
    st.sampled_from(PATTERNS),
    st.builds(
        lambda methods, pattern: f"{','.join(methods)} {pattern}",
        st.lists(st.sampled_from(METHODS), min_size=1, max_size=3, unique=True),
        st.sampled_from(PATTERNS),
    ),
)
names = st.frozensets(st.sampled_from(NAMES)) | st.just(EVERYTHING)
networks = st.frozensets(
    st.builds(lambda sign, network: sign + network, st.sampled_from(["", "!"]), st.sampled_from(NETWORKS)), min_size=1
)
grants = st.builds(
    Grant,
    scopes=st.frozensets(st.sampled_from(SCOPES)),
    tenants=names,
    owners=names,
    environments=names,
    networks=networks.map(network_rules) | st.just(Grant().networks),
    routes=st.frozensets(rules, min_size=1).map(route_rules) | st.just(Grant().routes),
    origins=st.frozensets(st.sampled_from(PAGES)) | st.just(EVERYTHING),
    until=st.sampled_from([-math.inf, *TIMES]),
)


def doable(grant: Grant) -> set[tuple[str, object]]:
    """Everything in the small world that a grant allows, found out by the functions that judge requests."""
    found: set[tuple[str, object]] = {
        ("scopes", scope) for scope in SCOPES if not missing_scopes(grant.scopes, [scope])
    }
    found |= {("networks", address) for address in ADDRESSES if grant.networks.admit(address)}
    found |= {("routes", (method, path)) for method in METHODS for path in PATHS if grant.routes.admit(method, path)}
    found |= {
        ("origins", origin)
        for origin in ORIGINS
        if grant.origins is EVERYTHING or origin_rules(grant.origins).admit(origin)  # type: ignore[arg-type]
    }
    for what in ("tenants", "owners", "environments"):
        allowed = getattr(grant, what)
        found |= {(what, name) for name in [*NAMES, "z"] if allowed is EVERYTHING or name in allowed}
    return found | {("until", time) for time in (0.5, 1.5, 2.5, 1e300) if time < grant.until}


@given(grants, grants)
def test_what_a_granted_key_may_do_its_granter_may_do(grant: Grant, granter: Grant) -> None:
    """Point by point: nothing that the grant allows is beyond the granter, in any respect that was not reported."""
    beyond = {what for what, _ in doable(grant) - doable(granter)}

    assert beyond <= set(excess(grant, granter))


@pytest.mark.fuzz
def test_no_grant_of_very_many_exceeds_its_granter(fuzz_rounds: int) -> None:
    """The same in bulk; `make fuzz` tries 100,000 and more."""
    examples = 100_000 if fuzz_rounds >= 1_000_000 else fuzz_rounds // 20
    settings(max_examples=examples, deadline=None)(test_what_a_granted_key_may_do_its_granter_may_do)()


@given(grants)
def test_a_grant_is_within_itself_and_within_everything(grant: Grant) -> None:
    """And nothing is within everything."""
    assert excess(grant, grant) == ()
    assert excess(grant, ALL) == ()
    assert excess(Grant(), grant) == ()


@given(grants, grants, grants)
def test_granting_on_cannot_gain(first: Grant, second: Grant, third: Grant) -> None:
    """Within is transitive, respect by respect."""
    gained = set(excess(third, first))

    assert gained <= set(excess(third, second)) | set(excess(second, first))


@given(networks.map(network_rules), networks.map(network_rules))
def test_networks_are_compared_by_what_they_allow(one: object, other: object) -> None:
    """In a world where every address is tried, what is within is never refused."""
    granted, granter = replace(Grant(), networks=one), replace(Grant(), networks=other)
    whole_v4 = granted.networks.admit("192.0.2.1") or granted.networks.admit("2001:db8::1")

    if not whole_v4 and doable(granted) <= doable(granter):
        assert "networks" not in excess(granted, granter)


def test_absent_means_none() -> None:
    """From an empty grant, nothing can be given; an empty one is within everything, even there."""
    assert set(excess(ALL, Grant())) == {
        "scopes", "tenants", "owners", "environments", "networks", "routes", "limits", "origins", "until",
    }  # fmt: skip
    assert excess(Grant(), Grant()) == ()


def test_who_is_limited_hands_on_no_more() -> None:
    """As much or less of each limit, and none may be left out; more limits than the granter has do no harm."""
    granter = replace(ALL, limits=grant_of(limited("100/minute", "quota 2000/day")).limits)

    for limits in (("100/minute", "quota 2000/day"), ("1/second", "quota 5", "credits 3")):
        assert excess(replace(ALL, limits=grant_of(limited(*limits)).limits), granter) == ()
    for limits in ((), ("100/minute",), ("101/minute", "quota 2000/day"), ("100/minute", "quota 2001/day")):
        assert excess(replace(ALL, limits=grant_of(limited(*limits)).limits), granter) == ("limits",)


def limited(*limits: str) -> KeyRecord:
    """A key with these limits."""
    return KeyRecord(key_id="k", digest="d", owner="x", created_at=0.0, limits=frozenset(limits))


def test_two_halves_are_within_the_whole_and_the_whole_within_two_halves() -> None:
    """The spelling of networks does not matter, nor the order of allowing and denying."""
    halves = replace(Grant(), networks=network_rules(["10.0.0.0/9", "10.128.0.0/9"]))
    whole = replace(Grant(), networks=network_rules(["10.0.0.0/8"]))
    holed = replace(Grant(), networks=network_rules(["10.0.0.0/8", "!10.1.0.0/16"]))

    assert excess(halves, whole) == excess(whole, halves) == excess(holed, whole) == ()
    assert excess(whole, holed) == ("networks",)


def test_a_record_without_restrictions_is_granted_everything_of_them() -> None:
    """There, absent means all; so a restricted granter cannot give a key without restrictions."""
    free = KeyRecord(key_id="k", digest="d", owner="o", created_at=0.0)
    bound = replace(free, networks=frozenset({"10.0.0.0/8"}), routes=frozenset({"GET /*"}), expires_at=9.0)

    assert grant_of(free).until == math.inf
    assert excess(grant_of(bound), grant_of(free)) == ()
    assert excess(grant_of(free), grant_of(bound)) == ("networks", "routes", "until")
    assert excess(grant_of(replace(free, owner="p", tenant="t", environment="test")), grant_of(free)) == (
        "tenants",
        "owners",
        "environments",
    )
