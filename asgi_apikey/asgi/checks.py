"""What a middleware refuses to be built with: mistakes that would fail late, or leave something open."""

from __future__ import annotations

from collections.abc import Collection

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.policy import is_scope_name


def check_parts(app: object, keys: object, on_refusal: object) -> None:
    """Check what the middleware is made of.

    Raises:
        ConfigurationError: One of them lacks what will be called on it.
    """
    if not callable(app):
        raise ConfigurationError(f"{app!r} is not an ASGI application; write APIKeyMiddleware(app, keys=keys)")
    methods = ("authenticate_nowait", "authenticate", "open", "close")
    if not all(callable(getattr(keys, name, None)) for name in methods):
        raise ConfigurationError(f"keys is a {type(keys).__name__}; write keys=APIKeys('sqlite:///keys.db')")
    if not isinstance(getattr(keys, "lifespan_states", None), dict):
        raise ConfigurationError("keys has no dictionary `lifespan_states`; pass an APIKeys")
    if on_refusal is not None and not callable(on_refusal):
        raise ConfigurationError("on_refusal must be a function from an error to an ASGI application")


def check_tokens(jwt: object, *, bearer: bool) -> None:
    """Check the verifier of tokens, if there is one.

    Raises:
        ConfigurationError: It is none, or no token would ever be read.
    """
    if jwt is None:
        return
    if not callable(getattr(jwt, "authenticate", None)) or callable(getattr(jwt, "authenticate_nowait", None)):
        raise ConfigurationError(f"jwt is a {type(jwt).__name__}; write jwt=JWTVerifier(…), beside keys=")
    if not bearer:
        raise ConfigurationError("tokens are read from `Authorization: Bearer` only; with jwt= write bearer=True")


def check_names(exempt: object, state_key: object, realm: object) -> None:
    """Check names that are written out in requests and answers.

    Raises:
        ConfigurationError: One would fail there, or mean something else.
    """
    if isinstance(exempt, str) or not isinstance(exempt, Collection):
        raise ConfigurationError(f"exempt={exempt!r} is not a collection of paths; write exempt=('/health',)")
    if not isinstance(state_key, str) or not state_key.isidentifier():
        raise ConfigurationError(f"state_key={state_key!r} cannot be read as request.state.<name>; write 'api_key'")
    if not isinstance(realm, str) or not realm.isascii() or not realm.isprintable():
        raise ConfigurationError(f"realm={realm!r} cannot stand in a header; use printable ASCII")


def required_scopes(scopes: object) -> frozenset[str]:
    """Return the configured scopes as a set.

    Raises:
        ConfigurationError: They are not a collection of scope names, or one could not stand in a challenge.
    """
    if isinstance(scopes, str) or not isinstance(scopes, frozenset | set | tuple | list):
        raise ConfigurationError(f"scopes={scopes!r} is not a collection of names; write scopes=('orders:read',)")
    for name in scopes:
        if not is_scope_name(name):
            raise ConfigurationError(
                f"scope {name!r} must be visible ASCII without spaces, quotes and backslashes; write 'orders:read'"
            )
    return frozenset(scopes)
