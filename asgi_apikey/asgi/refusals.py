"""Saying no: a refusal on HTTP and on WebSockets, with the application's own words if it has any."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from asgi_apikey.asgi.closing import ACCEPTED, POLICY_VIOLATION, accept_message, close_message
from asgi_apikey.asgi.problems import Answer, Answers
from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send
from asgi_apikey.errors import APIKeyError, AuthenticationError, Undecidable
from asgi_apikey.tracebacks import described

OnRefusal: TypeAlias = Callable[[APIKeyError], ASGIApp]
"""Makes the application that answers a refused request."""

_logger = logging.getLogger("asgi_apikey")


class Refusals:
    """Answers requests that do not get in.

    Args:
        answers: The standard answers.
        on_refusal: Replaces them: called with the error, returns an ASGI application, which then speaks to the
            client. What it cannot do is let the request in. If it raises before it has answered, or never answers,
            the standard answer is sent.
        close_codes: Whether a refused WebSocket is accepted and closed, so that browsers can tell why.
    """

    def __init__(self, answers: Answers, *, on_refusal: OnRefusal | None = None, close_codes: bool = False) -> None:
        self._answers = answers
        self._on_refusal = on_refusal
        self._close_codes = close_codes

    def standard_answer(self, error: APIKeyError) -> Answer:
        """Return what is sent where `on_refusal` says nothing."""
        return self._answers.answer_to(error)

    async def refuse(self, reason: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that is refused because of `reason`.

        Whatever is not one of our refusals is a fault of ours or of a plug: then we cannot decide, which is 503.
        """
        error = _as_refusal(reason)
        if scope["type"] == "websocket":
            # The handshake's event comes first; who answers in our place finds it again.
            handshake = await receive()
            if handshake["type"] == "websocket.disconnect":
                return
            receive = _replaying(handshake, receive)
        if self._on_refusal is not None and await _answered(self._on_refusal, error, scope, receive, send):
            return
        if scope["type"] == "websocket" and (self._close_codes or ACCEPTED in scope):
            await send(accept_message(scope))
            await send(close_message(error))
            return
        await _send(self._answers.answer_to(error), scope, send)


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    prefix = ""
    if scope["type"] == "websocket":
        if not _offers_denial(scope):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})
            return
        prefix = "websocket."
    # A list of its own each time: middleware outside appends to it.
    await send({"type": prefix + "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    body = b"" if scope.get("method") == "HEAD" else answer.body
    await send({"type": prefix + "http.response.body", "body": body})


def _offers_denial(scope: Scope) -> bool:
    """Whether the server can answer a handshake with an HTTP response (ASGI's WebSocket Denial Response)."""
    return "websocket.http.response" in (scope.get("extensions") or {})


async def _answered(on_refusal: OnRefusal, error: APIKeyError, scope: Scope, receive: Receive, send: Send) -> bool:
    """Let the application's own words answer; whether they did."""
    started = False
    # One that was accepted before its key was known makes a code of a response.
    denial_possible = _offers_denial(scope) or ACCEPTED in scope

    async def watched(message: Message) -> None:
        nonlocal started
        if not denial_possible and message["type"].startswith("websocket.http.response"):
            raise RuntimeError("this server cannot answer a WebSocket handshake with a response")
        await send(message)
        started = True

    try:
        await on_refusal(error)(scope, receive, watched)
    except Exception as failure:
        if started:
            raise
        _logger.error(
            "on_refusal failed, the standard answer is sent: %s",
            described(failure),
            extra={"event": "on_refusal_failed"},
        )
    return started


def _replaying(first: Message, receive: Receive) -> Receive:
    pending = [first]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed


def _as_refusal(reason: Exception) -> APIKeyError:
    if isinstance(reason, AuthenticationError | Undecidable):
        return reason
    _logger.error(
        "a request was refused because it could not be decided: %s",
        described(reason),
        extra={"event": "request_undecided"},
    )
    return Undecidable()
