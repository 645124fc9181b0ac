"""What a middleware refuses to be built with: mistakes that would fail late, or leave something open."""

from __future__ import annotations

from collections.abc import Collection

from asgi_apikey.arguments import check_values
from asgi_apikey.asgi.connections import Connections, Live
from asgi_apikey.asgi.restrict import STAGES, Report, unreported
from asgi_apikey.asgi.websockets import WebSockets
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


def connections_of(keys: object, live: Live | None) -> Connections | None:
    """Return who watches over the open connections of these keys; None if nobody can, and nobody is to.

    Raises:
        ConfigurationError: Nobody can.
    """
    connections = getattr(keys, "connections", None)
    if isinstance(connections, Connections):
        return connections
    if live is not None:
        raise ConfigurationError("keys has no `connections` to watch over WebSockets; pass an APIKeys, or live=None")
    return None


def check_websockets(websockets: object, live: object, *, watched: bool, required: bool) -> None:
    """Check what is said about connections that stay open.

    Raises:
        ConfigurationError: They are no values of ours, or a first message could never be told from an anonymous client.
    """
    check_values(websockets=(websockets, WebSockets), live=(live, Live))
    if not isinstance(websockets, WebSockets):
        raise ConfigurationError("websockets is None; write websockets=WebSockets()")
    if websockets.first_message is not None and not required:
        raise ConfigurationError(
            "first_message waits for a key from whoever presents none, so nobody could be anonymous; with "
            "required=False write first_message=None"
        )
    if websockets.first_message is not None and not watched:
        raise ConfigurationError("first_message needs an APIKeys, which counts those who have not sent theirs")


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


def reported_stages(report_only: object) -> frozenset[str]:
    """Return what is only reported.

    Raises:
        ConfigurationError: It is not a collection of such names.
    """
    if isinstance(report_only, str) or not isinstance(report_only, Collection) or not set(report_only) <= set(STAGES):
        raise ConfigurationError(
            f"report_only={report_only!r} is not a collection of {', '.join(STAGES)}; write report_only=('networks',)"
        )
    return frozenset(report_only)


def report_of(keys: object, report_only: Collection[str]) -> Report:
    """Return who is told what would have been refused.

    Raises:
        ConfigurationError: Nobody is there, and something is to be reported.
    """
    note: Report | None = getattr(getattr(keys, "rehearsal", None), "note", None)
    if callable(note):
        return note
    if report_only:
        raise ConfigurationError("keys has no `rehearsal` to report to; pass an APIKeys, or report_only=()")
    return unreported


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
