"""How a WebSocket is told no: the close codes, and the closing handshake of one that was not let in."""

from __future__ import annotations

from typing import Final

from asgi_apikey.asgi.problems import problem_of
from asgi_apikey.asgi.types import Message, Scope
from asgi_apikey.errors import APIKeyError

POLICY_VIOLATION: Final = 1008
"""RFC 6455 section 7.4.1. Before the handshake is accepted, servers turn any code into a 403."""
GOING_AWAY: Final = 1001
TRY_AGAIN_LATER: Final = 1013
"""IANA's registry of close codes: the server is overloaded, or cannot say; connect again after a pause."""

_PRIVATE: Final = 4000
"""Where the codes begin that applications may give a meaning (RFC 6455 section 7.4.2)."""

ACCEPTED: Final = "asgi_apikey.accepted"
"""The private entry of the ASGI scope of a WebSocket that was accepted before its key was known."""


def close_code_of(status: int) -> int:
    """Return the code that says what an HTTP status says: 4401 for 401, 4403 for 403, 1013 for 503."""
    return _PRIVATE + status if status < 500 else TRY_AGAIN_LATER


def close_message(error: APIKeyError) -> Message:
    """Return the message that closes an accepted WebSocket; it says no more than the body of a response would."""
    problem = problem_of(error)
    return {"type": "websocket.close", "code": close_code_of(problem.status), "reason": problem.code}


def accept_message(scope: Scope) -> Message:
    """Return the message that accepts a handshake, with the first subprotocol that the client has offered.

    Browsers fail a connection for which they offered subprotocols and were given none, and tell the page nothing but
    1006 (https://websockets.spec.whatwg.org/#websocket-opening-handshake). Credentials are not in the list any more.
    """
    offered: list[str] = scope.get("subprotocols") or []
    return {"type": "websocket.accept", "subprotocol": offered[0] if offered else None}
