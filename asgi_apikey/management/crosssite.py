"""Whether a browser was made to send a request by another site (CSRF), told from its headers alone.

Browsers attach cookies whoever starts the request. They also say who did: `Sec-Fetch-Site`, which no page can forge,
in every current browser; `Origin` before that. What sends neither is not a browser, and nobody can make it send a
cookie. Source: https://www.w3.org/TR/fetch-metadata/ and the reasoning of Go's `http.CrossOriginProtection`.
"""

from __future__ import annotations

from typing import Final

from asgi_apikey.asgi.types import Scope

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing here, and the answer to a foreign page is withheld by its browser."""

_OUR_OWN: Final = frozenset({b"same-origin", b"none"})


def is_from_elsewhere(scope: Scope) -> bool:
    """Whether this request would change something and another site has started it, or may have."""
    if scope["method"] in SAFE_METHODS:
        return False
    sites = _values(scope, b"sec-fetch-site")
    if sites:
        # `same-site` is another application under the same domain, not us.
        return not _OUR_OWN.issuperset(sites)
    hosts = _values(scope, b"host")
    # `Origin: null` has no host at all.
    return any(origin.partition(b"://")[2] not in hosts for origin in _values(scope, b"origin"))


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value.strip().lower() for name, value in scope["headers"] if name.lower() == wanted]
