"""The client's address behind proxies."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.proxies import Proxies, proxies_of
from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import FakeKeys, Inner, http

PROXIES = ("10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7")
PEER = ("10.0.0.1", 4711)
SOMEBODY = "198.51.100.9"

OURS = st.sampled_from(["10.0.0.2", "10.255.0.1", "2001:db8:1::7", "192.0.2.7", "::ffff:10.0.0.3"])
OTHERS = st.sampled_from(["203.0.113.5", "2001:db8:2::1", "192.0.2.8", "11.0.0.1", "::1"])


def listed(header: str = "X-Forwarded-For", *, unix: bool = False) -> Proxies:
    """Our proxies, and where they write."""
    found = proxies_of((*PROXIES, "unix") if unix else PROXIES, header)
    assert found is not None
    return found


def behind(*lines: str, client: object = PEER, name: bytes = b"x-forwarded-for") -> Scope:
    """A request with these lines of a header."""
    return http(*((name, line.encode("latin-1")) for line in lines), client=client)


def normal(address: str) -> str:
    """As addresses are told: an IPv4 one as itself."""
    parsed = ip_address(address)
    return str(parsed if parsed.version == 4 else parsed.ipv4_mapped or parsed)


# ---- X-Forwarded-For ----


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (SOMEBODY, SOMEBODY),
        (f"1.1.1.1, {SOMEBODY}", SOMEBODY),
        (f"1.1.1.1,{SOMEBODY},10.0.0.9,  192.0.2.7", SOMEBODY),
        (f"10.0.0.8, {SOMEBODY}, 10.0.0.9", SOMEBODY),
        (f"rubbish <script>, , {SOMEBODY}", SOMEBODY),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("10.0.0.9", "10.0.0.9"),
        (f"{SOMEBODY}:4711", SOMEBODY),
        (f"::ffff:{SOMEBODY}", SOMEBODY),
        (f"[::ffff:{SOMEBODY}]:80", SOMEBODY),
        (f"{SOMEBODY}, ::ffff:10.0.0.9", SOMEBODY),
        ("2001:DB8:2:0::1", "2001:db8:2::1"),
        ("[2001:db8:2::1]", "2001:db8:2::1"),
        ("[2001:db8:2::1]:443", "2001:db8:2::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
        (f"\t{SOMEBODY} ", SOMEBODY),
    ],
)
def test_the_first_address_from_the_right_that_is_not_ours(line: str, client: str) -> None:
    """What stands to the left of it anybody may have written, and it is not looked at."""
    assert listed().client_of(behind(line)) == client


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", ",", f"{SOMEBODY},", f"{SOMEBODY}, ,10.0.0.9", "unknown", "_hidden", "localhost", "example.com"),
        *("256.1.1.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "0x7f.1", "2130706433", f"{SOMEBODY}:", f"{SOMEBODY}:999999"),
        *(f"{SOMEBODY}%eth0", f'"{SOMEBODY}"', f"for={SOMEBODY}", f"{SOMEBODY} 10.0.0.9", f"{SOMEBODY};10.0.0.9"),
        *(
            "[::1",
            "::1]",
            "[]",
            "[1.2.3.4]",
            "1::2::3",
            ":::",
            "[::1]x",
            f"{SOMEBODY}\x00",
            f"{SOMEBODY}\xa0",
        ),
    ],
)
def test_what_our_proxy_must_have_written_and_is_no_address_is_nobody(line: str) -> None:
    """The client is unknown then, not whoever stands further to the left."""
    line = line.encode("latin-1", "replace").decode("latin-1")

    assert listed().client_of(behind(line)) is None


def test_two_lines_are_nobody() -> None:
    """Which one our proxy has written cannot be told. Another spelling of the name makes two, too."""
    assert listed().client_of(behind(SOMEBODY, "10.0.0.9")) is None
    twice = http((b"x-forwarded-for", b"1.1.1.1"), (b"X-Forwarded-For", SOMEBODY.encode()), client=PEER)
    assert listed().client_of(twice) is None


def test_without_the_header_a_proxy_is_the_client() -> None:
    """As with a health check that it makes itself; other headers are not read."""
    assert listed().client_of(behind()) == "10.0.0.1"
    assert listed().client_of(behind(SOMEBODY, name=b"x-real-ip")) == "10.0.0.1"
    assert listed().client_of(behind(SOMEBODY, name=b"x_forwarded_for")) == "10.0.0.1"


@pytest.mark.parametrize("client", [("203.0.113.5", 1), ["203.0.113.5", 1], ("::ffff:203.0.113.5", 1)])
def test_whoever_is_not_a_proxy_is_not_believed(client: object) -> None:
    """Whatever they write."""
    assert listed().client_of(behind("10.0.0.9", client=client)) == "203.0.113.5"
    assert listed().client_of(behind("10.0.0.9", "1.1.1.1", client=client)) == "203.0.113.5"
    assert listed(unix=True).client_of(behind("10.0.0.9", client=client)) == "203.0.113.5"


@pytest.mark.parametrize("client", [None, (), ("", 0), ("/run/app.sock", 0), (None, None)])
def test_a_unix_socket_is_a_proxy_if_that_is_said(client: object) -> None:
    """Otherwise its peer has no address, and what it writes is not read."""
    assert listed().client_of(behind(SOMEBODY, client=client)) is None
    assert listed(unix=True).client_of(behind(f"1.1.1.1, {SOMEBODY}, 10.0.0.1", client=client)) == SOMEBODY
    assert listed(unix=True).client_of(behind(client=client)) is None


def test_a_trusted_peer_may_be_written_as_ipv6() -> None:
    """Servers that listen on both report IPv4 peers so."""
    assert listed().client_of(behind(SOMEBODY, client=("::ffff:10.0.0.1", 1))) == SOMEBODY


def test_there_is_an_end_to_hops() -> None:
    """Nobody has so many proxies of his own; what is beyond is nobody."""
    assert listed().client_of(behind(", ".join([SOMEBODY, *["10.0.0.9"] * 31]))) == SOMEBODY
    assert listed().client_of(behind(", ".join([SOMEBODY, *["10.0.0.9"] * 32]))) is None


@given(st.text(st.characters(max_codepoint=255), max_size=40), OTHERS, st.lists(OURS, max_size=5))
def test_what_a_client_writes_never_moves_its_address(forged: str, client: str, hops: list[str]) -> None:
    """Whatever stands before what our proxies have appended."""
    line = ", ".join([forged, client, *hops])

    assert listed().client_of(behind(line)) == normal(client)


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(["X-Forwarded-For", "Forwarded"]))
def test_any_line_gives_an_address_or_none(line: str, header: str) -> None:
    """It never raises."""
    found = listed(header).client_of(behind(line, name=header.lower().encode()))

    assert found is None or normal(found) == found


# ---- Forwarded ----


def forwarded(*lines: str) -> str | None:
    """Whom this header makes the client."""
    return listed("Forwarded").client_of(behind(*lines, name=b"forwarded"))


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (f"for={SOMEBODY}", SOMEBODY),
        (f"For={SOMEBODY};proto=https;by=10.0.0.1", SOMEBODY),
        (f'proto=https ; FOR="{SOMEBODY}:4711" ; host="example.com:443"', SOMEBODY),
        ('for="[2001:db8:2::1]:4711"', "2001:db8:2::1"),
        (f"for=1.1.1.1, for={SOMEBODY}, for=10.0.0.9;proto=http", SOMEBODY),
        (f"for=_hidden, for=unknown, proto=https, for={SOMEBODY}", SOMEBODY),
        (f'for={SOMEBODY},for="[2001:db8:1::9]"', SOMEBODY),
        ("for=10.0.0.8, for=10.0.0.9", "10.0.0.8"),
    ],
)
def test_forwarded_is_read_from_the_right_too(line: str, client: str) -> None:
    """RFC 7239: elements between commas, pairs between semicolons, values perhaps in quotes."""
    assert forwarded(line) == client


@pytest.mark.parametrize(
    "line",
    [
        *("", "for=", "for=unknown", "for=_gazonk", "proto=https", SOMEBODY, f"for={SOMEBODY};", f"for={SOMEBODY},"),
        *(f"for={SOMEBODY};for=10.0.0.9", f'for="{SOMEBODY}', f'for={SOMEBODY}"', f'for=""{SOMEBODY}""'),
        *(
            f'for="{SOMEBODY}\\"',
            f"for = {SOMEBODY}",
            f"for={SOMEBODY} 1",
            f'for={SOMEBODY};a="b,c"',
            f"for={SOMEBODY};x",
        ),
    ],
)
def test_a_forwarded_that_cannot_be_read_is_nobody(line: str) -> None:
    """Also one with commas in quotes: nobody's address has them, and they are how elements are smuggled."""
    assert forwarded(line) is None


@pytest.mark.parametrize(
    "opening",
    ['for=1.1.1.1;a="', '"', 'for="', "a=", 'for=10.0.0.9;b="x', "for=10.0.0.9;", '=",', 'for=1.1.1.1;a="\\'],
)
@pytest.mark.parametrize("appended", [f", for={SOMEBODY}", f', for="{SOMEBODY}:1"', f', for={SOMEBODY};host="h"'])
def test_a_quotation_that_a_client_opens_swallows_nothing(opening: str, appended: str) -> None:
    """Whatever it is closed by: the client is who our proxy has seen, or nobody."""
    assert forwarded(opening + appended) in (None, SOMEBODY)


@given(st.text(st.sampled_from('for=,;"\\ 10.9[]:ax'), max_size=40), OTHERS)
def test_what_a_client_forwards_never_moves_its_address(forged: str, client: str) -> None:
    """It stays what our proxy has appended, or becomes unknown."""
    shown = f'"[{client}]"' if ":" in client else client

    assert forwarded(f"{forged}, for={shown};proto=https") in (None, normal(client))


def test_a_forwarded_that_is_too_long_is_nobody() -> None:
    """All of it would have to be read, for strangers too."""
    assert forwarded("for=1.1.1.1," * 300 + f"for={SOMEBODY}") == SOMEBODY
    assert forwarded("for=1.1.1.1," * 400 + f"for={SOMEBODY}") is None


# ---- configuration ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trusted_proxies": "10.0.0.1"}, "is not a collection"),
        ({"trusted_proxies": 7}, "is not a collection"),
        ({"trusted_proxies": ("10.0.0.1/8",)}, "neither an address"),
        ({"trusted_proxies": ("!10.0.0.0/8",)}, "neither an address"),
        ({"trusted_proxies": ("proxy.example",)}, "neither an address"),
        ({"trusted_proxies": ("*",)}, "neither an address"),
        ({"trusted_proxies": (None,)}, "neither an address"),
        ({"trusted_proxies": ("0.0.0.0/0",)}, "believe what anybody writes"),
        ({"trusted_proxies": ("::/0",)}, "believe what anybody writes"),
        ({"trusted_proxies": ("10.0.0.1",), "forwarded_header": ""}, "is no header"),
        ({"trusted_proxies": ("10.0.0.1",), "forwarded_header": "X Forwarded"}, "is no header"),
        ({"forwarded_header": None}, "is no header"),
    ],
)
def test_what_would_believe_everybody_is_refused(
    keys: FakeKeys, inner: Inner, options: dict[str, object], message: str
) -> None:
    """At construction, with what to write instead."""
    with pytest.raises(ConfigurationError, match=message):
        APIKeyMiddleware(inner, keys=keys, **options)  # type: ignore[arg-type]


def test_without_proxies_nobody_is_believed() -> None:
    """None are configured by default."""
    assert proxies_of((), "X-Forwarded-For") is None
