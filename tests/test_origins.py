"""Origins: which web pages a key may be used from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import InvalidRequest
from asgi_apikey.origins import origin_rules, origin_text

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.one_of(st.just(""), st.integers(1, 65_535).map(lambda port: f":{port}"))
ORIGINS = st.builds(
    lambda scheme, host, port: f"{scheme}://{host}{port}", st.sampled_from(["http", "https"]), HOSTS, PORTS
)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.COM", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://*.example.com", "https://*.example.com"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_has_one_spelling(written: str, kept: str) -> None:
    """That in which browsers write it: small letters, no default port."""
    assert origin_text(written) == kept


@pytest.mark.parametrize(
    "written",
    [
        *("", "*", "null", "https://", "https://*", "https://*.com", "https://*.*.example.com"),
        *("https://a.*.example.com", "https://a*.example.com", "https://*.0.0.1", "*.example.com", "example.com"),
        *("https://example.com/", "https://example.com/a", "https://example.com?", "https://u:p@example.com"),
        *("https://example.com:65536", "https://example.com:", "https://example..com", "https://-a.example"),
        *("https://example.com.", "https://bücher.example", "https://a.example\n", " https://a.example"),
        *("http://[::1", "http://[1.2.3.4]", "http://[fe80::1%25eth0]", "//a.example", None, 7, b"https://a.example"),
    ],
)
def test_what_is_no_origin_is_refused(written: object) -> None:
    """With a message that says how one is written; a star for all of a top-level domain is none."""
    with pytest.raises(InvalidRequest, match="an origin is written as"):
        origin_text(written)


def test_an_exact_origin_is_itself_alone() -> None:
    """Another scheme, port or host is another origin, and so is another spelling."""
    rules = origin_rules(["https://app.example.com"])

    assert rules.admit("https://app.example.com")
    for other in (
        *(None, "", "null", "http://app.example.com", "https://app.example.com:444", "https://app.example.com:443"),
        *("https://example.com", "https://x.app.example.com", "https://app.example.com.evil.example"),
        *("https://APP.example.com", "https://app.example.com/", " https://app.example.com", "https://appxexample.com"),
    ):
        assert not rules.admit(other), other


def test_a_star_is_one_label() -> None:
    """Neither none, nor two, nor anything that is no label."""
    rules = origin_rules(["https://*.example.com"])

    assert rules.admit("https://a.example.com")
    assert rules.admit("https://a-1.example.com")
    for other in (
        *("https://example.com", "https://.example.com", "https://a.b.example.com", "https://*.example.com"),
        *("http://a.example.com", "https://a.example.com:8443", "https://aexample.com", "https://evil@a.example.com"),
        *("https://evil.example/.example.com", "https://evil.example#.example.com", "https://a\n.example.com"),
    ):
        assert not rules.admit(other), other


@given(ORIGINS)
def test_what_is_kept_admits_itself_and_is_kept_as_it_is(origin: str) -> None:
    """Writing a kept rule again changes nothing."""
    kept = origin_text(origin)

    assert origin_text(kept) == kept
    assert origin_rules([origin]).admit(kept)
    assert origin_rules([origin]).cover(kept)


@given(ORIGINS, LABELS)
def test_a_pattern_covers_what_it_admits(origin: str, label: str) -> None:
    """And itself; what lies one label deeper it does not."""
    scheme, _, rest = origin.partition("://")
    pattern = f"{scheme}://*.{rest.partition(':')[0]}.example"
    rules = origin_rules([pattern])
    below = pattern.replace("*", label)

    assert rules.cover(pattern)
    assert rules.cover(below)
    assert rules.admit(below)
    assert not rules.admit(pattern.replace("*", f"{label}.{label}"))
    assert not origin_rules([below]).cover(pattern)
