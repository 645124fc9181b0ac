"""Admission: which scopes are missing, which addresses and routes are allowed."""

from __future__ import annotations

from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest, NetworkNotAllowed, OriginNotAllowed, RouteNotAllowed
from asgi_apikey.policy import (
    covering,
    covers,
    has_any,
    is_scope_name,
    missing_scopes,
    network_rules,
    network_text,
    restrictions_of,
    route_rules,
    route_text,
)


class Request(TypedDict):
    """What restrictions are asked about."""

    address: str | None
    method: str
    path: str | None
    origin: str | None


SCOPES = st.frozensets(st.text(min_size=1, max_size=3))
SEGMENTED = st.lists(st.sampled_from(["a", "b", "*", "apikeys"]), min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from([".", ":"]).map(lambda sign: sign.join(parts))
)


# ---- scopes ----


@given(SCOPES, SCOPES)
def test_what_is_missing_is_what_was_asked_for_and_not_granted(
    granted: frozenset[str], required: frozenset[str]
) -> None:
    """Nothing else is reported, and granting it admits."""
    missing = missing_scopes(granted, required)

    assert missing <= required
    assert not missing & granted
    assert missing_scopes(granted | missing, required) == frozenset()


def test_a_scope_name_is_visible_ascii_without_quote_and_backslash() -> None:
    """All 93 characters of RFC 6749, and no others: names end up in a quoted string of a header."""
    allowed = {chr(code) for code in range(0x250) if is_scope_name(chr(code))}

    assert allowed == {chr(code) for code in range(0x21, 0x7F)} - {'"', "\\"}
    assert is_scope_name("orders:read")
    assert not any(map(is_scope_name, ("", "a b", "a\n", "a\r\nX: y", b"orders:read", None, 7)))


def test_requiring_nothing_admits_everybody() -> None:
    """Authentication is another question."""
    assert missing_scopes(frozenset(), ()) == frozenset()


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [
        ("orders:*", "orders:read"),
        ("orders.*", "orders.read.own"),
        ("orders.*", "orders.*"),
        ("orders.*", "orders.read.*"),
        ("a:b.*", "a:b.c"),
        ("*", "orders"),
        ("*", "orders:*"),
        ("*", "apikeys"),
        ("apikeys:*", "apikeys:read"),
    ],
)
def test_a_wildcard_covers_all_below(granted: str, wanted: str) -> None:
    """Whole segments, in any depth, and narrower wildcards."""
    assert covers(granted, wanted)
    assert missing_scopes(frozenset({granted}), [wanted]) == frozenset()


@pytest.mark.parametrize(
    ("granted", "wanted"),
    [
        ("orders:*", "orders"),
        ("orders:*", "orders:"),
        ("orders:*", "orders.read"),
        ("orders:*", "ordersx:read"),
        ("orders*", "orders:read"),
        ("*:read", "orders:read"),
        ("a.*.c", "a.b.c"),
        ("orders:read", "orders:*"),
        ("orders.*", "*"),
        ("ORDERS:*", "orders:read"),
        ("*", "apikeys:read"),
        ("*", "apikeys:*"),
        ("*", "apikeys:"),
        ("apikeys.*", "apikeys:read"),
    ],
)
def test_a_wildcard_covers_nothing_else(granted: str, wanted: str) -> None:
    """Not the scope above, not another separator, not part of a segment, and never what is wider."""
    assert not covers(granted, wanted)
    assert missing_scopes(frozenset({granted}), [wanted]) == {wanted}


@given(SEGMENTED, SEGMENTED)
def test_what_covers_a_scope_can_be_listed(granted: str, wanted: str) -> None:
    """A store that looks for these names finds just the keys that are let in."""
    assert (granted in covering(wanted)) == covers(granted, wanted)


@given(SEGMENTED, SEGMENTED, SEGMENTED)
def test_covering_is_transitive(widest: str, wide: str, narrow: str) -> None:
    """Who may do more than somebody may do all that he may."""
    if covers(widest, wide) and covers(wide, narrow):
        assert covers(widest, narrow)


def test_one_of_several_is_enough_and_one_of_none_is_not() -> None:
    """`has_any` by wildcard too."""
    assert has_any(frozenset({"a:*"}), ["b", "a:x"])
    assert not has_any(frozenset({"a:*"}), ["b", "a"])
    assert not has_any(frozenset({"*"}), [])


def test_one_string_where_names_belong_admits_nobody() -> None:
    """`"orders"` is read as its letters; that is a mistake, and it fails closed."""
    assert missing_scopes(frozenset({"orders"}), "orders") == frozenset("orders")


# ---- networks ----


@pytest.mark.parametrize(
    ("rules", "address", "allowed"),
    [
        ({"10.0.0.0/8"}, "10.1.2.3", True),
        ({"10.0.0.0/8"}, "11.1.2.3", False),
        ({"10.0.0.0/8"}, "::ffff:10.1.2.3", True),
        ({"10.0.0.0/8"}, "::ffff:a01:203", True),
        ({"::ffff:10.0.0.0/104"}, "10.1.2.3", True),
        ({"10.0.0.0/8", "!10.1.0.0/16"}, "10.1.2.3", False),
        ({"10.0.0.0/8", "!10.1.0.0/16"}, "10.2.2.3", True),
        ({"!10.1.0.0/16"}, "10.2.2.3", True),
        ({"!10.1.0.0/16"}, "2001:db8::1", True),
        ({"!10.1.0.0/16"}, "::ffff:10.1.0.1", False),
        ({"10.1.2.3", "!10.1.2.3"}, "10.1.2.3", False),
        ({"2001:db8::/32"}, "2001:db8::7", True),
        ({"2001:db8::/32"}, "2001:db9::7", False),
        ({"fe80::/10"}, "fe80::1%eth0", True),
        ({"::/0"}, "10.1.2.3", False),
        ({"0.0.0.0/0"}, "::1", False),
        ({"0.0.0.0/0", "::/0"}, "testclient", False),
        ({"0.0.0.0/0", "::/0"}, "010.1.2.3", False),
        ({"0.0.0.0/0", "::/0"}, "10.1.2.3 ", False),
        ({"0.0.0.0/0", "::/0"}, "1" * 100_000, False),
        ({"!192.0.2.1"}, None, False),
    ],
)
def test_an_address_is_allowed_as_the_rules_say(rules: set[str], address: str | None, allowed: bool) -> None:
    """Denial wins; an IPv4 address is one in either spelling; what is no address is nowhere."""
    assert network_rules(rules).admit(address) is allowed


@pytest.mark.parametrize(
    ("rule", "spelled"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("!10.0.0.0/255.0.0.0", "!10.0.0.0/8"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
    ],
)
def test_a_network_has_one_spelling(rule: str, spelled: str) -> None:
    """Equal rules are equal text, and spelling it again changes nothing."""
    assert network_text(rule) == spelled
    assert network_text(spelled) == spelled


@pytest.mark.parametrize(
    "rule", ["", "!", "10.0.0.1/8", "10.0.0.0/33", "example.org", "10.0.0.0 /8", "!!10.0.0.0/8", 7]
)
def test_what_is_no_network_is_refused(rule: object) -> None:
    """With the spelling that is right; host bits behind the prefix are a slip more often than not."""
    with pytest.raises(InvalidRequest, match="network"):
        network_text(rule)


# ---- routes ----


@pytest.mark.parametrize(
    ("rules", "method", "path", "allowed"),
    [
        ({"GET /orders/*"}, "GET", "/orders/7", True),
        ({"GET /orders/*"}, "HEAD", "/orders/7", True),
        ({"GET /orders/*"}, "POST", "/orders/7", False),
        ({"GET /orders/*"}, "WEBSOCKET", "/orders/7", False),
        ({"GET /orders/*"}, "get", "/orders/7", False),
        ({"GET /orders/*"}, "GET", "/orders", False),
        ({"GET /orders/*"}, "GET", "/orders/", True),
        ({"GET /orders/*"}, "GET", "/ordersx/7", False),
        ({"HEAD /x"}, "GET", "/x", False),
        ({"/orders/*", "POST /bills"}, "DELETE", "/orders/7/8", True),
        ({"/orders/*", "POST /bills"}, "WEBSOCKET", "/orders/7", True),
        ({"/orders/*", "POST /bills"}, "POST", "/bills", True),
        ({"/orders/*", "POST /bills"}, "GET", "/bills", False),
        ({"/*"}, "GET", "/", True),
        ({"/*"}, "GET", None, False),
        ({"/a b/*"}, "GET", "/a b/c", True),
    ],
)
def test_a_route_is_allowed_as_the_rules_say(rules: set[str], method: str, path: str | None, allowed: bool) -> None:
    """Exact or all below, whole segments; a method only where it is named; an odd spelling never."""
    assert route_rules(rules).admit(method, path) is allowed


@pytest.mark.parametrize(
    ("rule", "spelled"), [("POST,GET /x", "GET,POST /x"), ("GET,GET /x", "GET /x"), ("/x/*", "/x/*")]
)
def test_a_route_has_one_spelling(rule: str, spelled: str) -> None:
    """Equal rules are equal text."""
    assert route_text(rule) == spelled


@pytest.mark.parametrize(
    "rule",
    [
        *("", "GET", "GET ", "get /x", "GET  /x", "GET,/x", "GET, POST /x", " /x", "x", "//x", "/x/../y", "/x%41"),
        *("/x?y", "/x*", "/*/x", "/x/**", "/x;y", "/x\n", None),
    ],
)
def test_what_is_no_route_is_refused(rule: object) -> None:
    """A rule that could never match, or not as it looks, is refused where it is written."""
    with pytest.raises(InvalidRequest, match="route"):
        route_text(rule)


# ---- together ----


def test_a_key_without_rules_has_no_restrictions() -> None:
    """Which the hot path tests first."""
    assert restrictions_of(frozenset(), frozenset(), frozenset()) is None


def test_the_first_restriction_that_refuses_is_named() -> None:
    """The network before the origin before the route."""
    every = restrictions_of(frozenset({"10.0.0.0/8"}), frozenset({"GET /x"}), frozenset({"https://a.example"}))
    good: Request = {"address": "10.0.0.1", "method": "GET", "path": "/x", "origin": "https://a.example"}

    assert every is not None
    assert every.refusal(**good) is None
    assert isinstance(every.refusal(address="11.0.0.1", method="POST", path="/x", origin=None), NetworkNotAllowed)
    assert isinstance(every.refusal(address="10.0.0.1", method="POST", path="/x", origin=None), OriginNotAllowed)
    assert isinstance(every.refusal(**good | {"method": "POST"}), RouteNotAllowed)
    assert [each.code for each in every.refusals(address=None, method="", path=None, origin=None)] == [
        "network_not_allowed",
        "origin_not_allowed",
        "route_not_allowed",
    ]


def test_each_restriction_alone_restricts_nothing_else() -> None:
    """What is not in the record is not asked for."""
    nothing: frozenset[str] = frozenset()
    from_here = restrictions_of(frozenset({"10.0.0.0/8"}), nothing, nothing)
    for_this = restrictions_of(nothing, frozenset({"GET /x"}), nothing)
    by_page = restrictions_of(nothing, nothing, frozenset({"https://a.example"}))

    assert from_here is not None
    assert from_here.refusal(address="10.0.0.1", method="POST", path=None, origin=None) is None
    assert for_this is not None
    assert for_this.refusal(address=None, method="GET", path="/x", origin=None) is None
    assert by_page is not None
    assert by_page.refusal(address=None, method="", path=None, origin="https://a.example") is None
