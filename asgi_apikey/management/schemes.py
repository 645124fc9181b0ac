"""How callers present themselves, as OpenAPI's Security Scheme Objects."""

from __future__ import annotations

from typing import Final

from asgi_apikey.models import NO_METADATA, Metadata


def key_schemes(header: str | None, *, bearer: bool) -> Metadata:
    """Return the schemes of API keys in these places."""
    about = "An API key with scopes that manage keys."
    in_header = {"ApiKey": {"type": "apiKey", "in": "header", "name": header, "description": about}}
    as_bearer = {"Bearer": {"type": "http", "scheme": "bearer", "description": about}}
    return (in_header if header is not None else {}) | (as_bearer if bearer else {})


TOKEN_SCHEMES: Final[Metadata] = {
    "Token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of the login service, with scopes that manage keys.",
    }
}

SCHEMES: Final[Metadata] = {**key_schemes("X-API-Key", bearer=True), **TOKEN_SCHEMES}
"""Those of an API that takes keys and tokens, in the usual places."""


def session_schemes(cookie: str | None) -> Metadata:
    """Return the scheme of a session, if its cookie is known."""
    if cookie is None:
        return NO_METADATA
    return {
        "Session": {"type": "apiKey", "in": "cookie", "name": cookie, "description": "A session of the application."}
    }


def schemes_of(authoriser: object) -> Metadata:
    """Return what an authoriser says about how it is spoken to; one of somebody else's need not say anything."""
    schemes = getattr(authoriser, "schemes", NO_METADATA)
    return schemes if isinstance(schemes, dict) else NO_METADATA
