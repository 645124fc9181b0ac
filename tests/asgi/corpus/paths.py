"""Spellings of paths, each decoded as servers decode them, and which of them are exempt.

The list that they are held against: `/health` and everything below `/static/`.
"""

from __future__ import annotations

from urllib.parse import unquote

EXEMPT = ("/health", "/static/*")

PLAIN = [
    "/health",
    "/static/",
    "/static/a",
    "/static/a.css",
    "/static/a/b/c",
    "/static/a/",
    "/static/%C3%BC.css",
    "/static/%c3%bc.css",
    "/static/a%20b",
    "/static/a-b_c~d.e",
    "/static/a+b",
    "/static/a=b",
    "/static/a@b",
    "/static/a:b",
    "/static/a,b",
    "/static/...",
    "/static/.hidden",
    "/static/a..b",
    "/static/%7Bid%7D",
]
"""As sent; all of these are exempt."""

_BASES = ["/health", "/static/a", "/admin", "/static", "/", "/orders"]

_TWISTS = [
    "/{0}",
    "//{0}",
    "{0}//",
    "{0}/.",
    "{0}/..",
    "{0}/./",
    "{0}/../",
    "/.{0}",
    "/..{0}",
    "/x/..{0}",
    "/static/..{0}",
    "/static/../{0}",
    "/static/%2e%2e{0}",
    "/static/%2E%2E%2f{0}",
    "/static/.%2e{0}",
    "/health/..{0}",
    "/health%2f..{0}",
    "/static%2f{0}",
    "/%2f{0}",
    "%2f{0}",
    "{0}%2f",
    "{0}%2F..",
    "{0}%5c",
    "{0}%5C..%5Cadmin",
    "{0}\\",
    "\\{0}",
    "{0};",
    "{0};a=1",
    "/;{0}",
    "/static;a=1{0}",
    "{0}%3b",
    "{0}%00",
    "{0}%00.css",
    "{0}%0a",
    "{0}%0d%0a",
    "{0}%09",
    "{0}%7f",
    "{0}%1f",
    "{0}%25",
    "{0}%252f",
    "{0}%252e%252e",
    "{0}%23",
    "{0}#",
    "{0}#/static/a",
    "{0}%3f",
    "{0}%3fa=1",
    "{0}%ff",
    "{0}%c0%af",
    "http://host{0}",
    "https://host{0}",
    "//host{0}",
    "host{0}",
    "*{0}",
    "{0}%2a/../x",
    "/%2e{0}",
    "/%2e%2e{0}",
]

NEVER = [twist.format(base) for twist in _TWISTS for base in _BASES] + [
    "",
    "*",
    "/",
    "/health/",
    "/health/x",
    "/healthz",
    "/health.json",
    "/health%20",
    "/health+",
    "/%68ealth",
    "/healt%68",
    "/he%61lth",
    "/HEALTH",
    "/Health",
    "/health%C3%BC",
    "health",
    "/static",
    "/staticx",
    "/static.css",
    "/STATIC/a",
    "/s%74atic/a",
    "/static/%61",
    "/static/a%2dz",
    "/static/a%2ez",
    "/static/a%7ez",
    "/x/static/a",
    "/x/health",
    "/\uff0fhealth",
    "/h\u0435alth",
    "/hea\u017fth",
    "/static\u2215a",
]
"""As sent; none of these is exempt."""

ROOTS = ["", "/api", "/api/v1", "/static"]
"""Where the application is mounted."""


def decoded(sent: str) -> tuple[str, bytes]:
    """The `path` and `raw_path` that uvicorn makes of a target."""
    return unquote(sent), sent.encode()
