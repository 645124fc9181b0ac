"""What all bridges share: asking what the middleware further out has found, and refusing in its words.

A bridge never verifies a key. It reads the private entry that `APIKeyMiddleware` leaves in the ASGI scope, which no
header and no handler's write to `state` reaches. Where there is none, nobody has verified anything and nobody gets in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from asgi_apikey.asgi.admission import admission_of
from asgi_apikey.asgi.connection import demand_scopes
from asgi_apikey.asgi.problems import Answer, Answers
from asgi_apikey.asgi.refusals import Refusals
from asgi_apikey.asgi.require import refusal_of
from asgi_apikey.asgi.types import Message, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, Undecidable
from asgi_apikey.models import Principal
from asgi_apikey.policy import covers

_logger = logging.getLogger("asgi_apikey")


def admitted(scope: Scope, needed: frozenset[str] = frozenset()) -> Principal:
    """Return the principal of a request, who has all of these scopes.

    Args:
        scope: The ASGI scope of the request.
        needed: All of them are; without any, every principal will do.

    Raises:
        MissingCredential: The request is anonymous.
        MissingScope: The principal lacks a scope.
        Undecidable: No `APIKeyMiddleware` stands around the application, so nobody has verified anything.
    """
    principal = caller(scope)
    refusal = refusal_of(principal, needed)
    if refusal is not None:
        raise refusal
    assert principal is not None  # `refusal_of` has refused nobody
    demand_scopes(scope, principal, needed)
    return principal


def caller(scope: Scope) -> Principal | None:
    """Return the principal of a request, None if it is anonymous.

    Raises:
        Undecidable: No `APIKeyMiddleware` stands around the application.
    """
    admission = admission_of(scope)
    if admission is None:
        _logger.error(
            "no APIKeyMiddleware is around this application, nobody gets in; wrap the whole application",
            extra={"event": "no_middleware"},
        )
        raise Undecidable
    return admission[1]


async def refuse(error: APIKeyError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request as the middleware around it does: its challenge, its `on_refusal`."""
    await _refusals(scope).refuse(error, scope, receive, send)


def standard_answer_to(error: APIKeyError, scope: Scope) -> Answer:
    """Return the middleware's standard response, with its challenge; `on_refusal` is not asked."""
    return _refusals(scope).standard_answer(error)


async def answer_to(error: APIKeyError, scope: Scope) -> Answer:
    """Return the response to a refused request, for frameworks whose handlers return responses.

    What `on_refusal` answers with finds no body in the request: the framework may have read it.
    """
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    # Whole bodies only: a file that is left to the server, which is an extension, would be lost here.
    plain = {**scope, "extensions": {}} if scope["type"] == "http" else scope
    await refuse(error, plain, receive, send)
    start, *parts = sent
    if start["type"] == "websocket.close":
        # This server cannot deny a handshake with a response: the framework closes it instead of sending one.
        return standard_answer_to(error, scope)
    return Answer(start["status"], tuple(start["headers"]), b"".join(part.get("body", b"") for part in parts))


class Granted(frozenset[str]):
    """Granted scopes that answer `in` as the policy does: `orders:*` has `orders:read` in it.

    Frameworks ask one scope at a time with `in`; a plain set would know the pattern's own name alone.
    """

    __slots__ = ()

    def __contains__(self, wanted: object) -> bool:
        """Whether something granted covers this scope."""
        return super().__contains__(wanted) or (
            isinstance(wanted, str) and any(covers(granted, wanted) for granted in self)
        )


def granted_to(principal: Principal | None, *more: str) -> Granted:
    """Return the scopes of a principal, and some more that the framework knows; of nobody, none at all."""
    return Granted() if principal is None else Granted({*principal.scopes, *more})


def texts(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return header lines as text."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def merged(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return header lines by name; several challenges become one line, with commas (RFC 9110 section 5.3)."""
    lines: dict[str, str] = {}
    for name, value in texts(headers):
        lines[name] = f"{lines[name]}, {value}" if name in lines else value
    return lines


def _refusals(scope: Scope) -> Refusals:
    admission = admission_of(scope)
    return Refusals(Answers(realm="api", bearer=False, api_key=True)) if admission is None else admission[3]
