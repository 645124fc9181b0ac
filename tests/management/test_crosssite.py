"""Requests that another site has made a browser send."""

from __future__ import annotations

import pytest

from asgi_apikey.management.crosssite import is_from_elsewhere
from tests.asgi.driver import http


def changing(*headers: tuple[bytes, bytes], method: str = "POST") -> bool:
    """Whether a request to `shop.example:8000` with these headers is from elsewhere."""
    scope = http(*headers, method=method)
    scope["headers"][0] = (b"host", b"shop.example:8000")
    return is_from_elsewhere(scope)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"sec-fetch-site", b"same-origin")],
        [(b"sec-fetch-site", b"none")],
        [(b"Sec-Fetch-Site", b"same-origin"), (b"origin", b"https://other.example")],
        [(b"origin", b"https://shop.example:8000")],
        [(b"origin", b"HTTP://SHOP.example:8000")],
    ],
)
def test_what_we_or_no_browser_has_started_is_ours(headers: list[tuple[bytes, bytes]]) -> None:
    """`Sec-Fetch-Site` decides where it is sent, `Origin` else; programs send neither."""
    assert not changing(*headers)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"same-site")],
        [(b"sec-fetch-site", b"")],
        [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-site", b"cross-site")],
        [(b"sec-fetch-site", b"cross-site"), (b"origin", b"https://shop.example:8000")],
        [(b"origin", b"https://other.example")],
        [(b"origin", b"https://shop.example:8001")],
        [(b"origin", b"https://shop.example:8000.evil.example")],
        [(b"origin", b"null")],
        [(b"origin", b"")],
        [(b"origin", b"https://shop.example:8000"), (b"origin", b"https://other.example")],
    ],
)
def test_what_another_site_has_started_is_not(headers: list[tuple[bytes, bytes]]) -> None:
    """Nor another application of the same domain, nor what says two things."""
    assert changing(*headers)
    assert changing(*headers, method="DELETE")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    """The browser keeps the answer from the page that asked."""
    assert not changing((b"sec-fetch-site", b"cross-site"), method=method)
