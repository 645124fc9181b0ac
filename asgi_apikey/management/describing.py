"""The two routes at which the API describes itself: `/openapi.json` for programs and `/docs` for people.

They need no credential. What they tell stands in this package's source, and nothing of it in the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from starlette.routing import Route

from asgi_apikey.asgi.problems import Answer, plain_answer
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.management.docspage import POLICY, docs_page
from asgi_apikey.management.openapi import openapi_document
from asgi_apikey.models import Metadata

OPENAPI_PATH: Final = "/openapi.json"
DOCS_PATH: Final = "/docs"

_ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")
_MOUNTS: Final = 8
"""Paths at which one application is mounted, of which the descriptions are kept; it is one, as a rule."""


def description_routes(schemes: Metadata) -> list[Route]:
    """Return the routes for an API whose callers present themselves like this."""

    @lru_cache(maxsize=_MOUNTS)
    def document(mounted_at: str) -> bytes:
        described = openapi_document(schemes=schemes, server=mounted_at)
        return json.dumps(described, separators=(",", ":")).encode()

    @lru_cache(maxsize=_MOUNTS)
    def page(mounted_at: str) -> bytes:
        return docs_page(openapi_document(schemes=schemes, server=mounted_at)).encode()

    return [
        Route(OPENAPI_PATH, _Page(document, b"application/json")),
        Route(DOCS_PATH, _Page(page, b"text/html; charset=utf-8")),
    ]


class _Page:
    """One of the two, for wherever it is mounted."""

    def __init__(self, written: Callable[[str], bytes], kind: bytes) -> None:
        self._written = written
        self._headers = (
            (b"content-type", kind),
            (b"cache-control", b"no-store"),
            (b"content-security-policy", POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer(scope)
        await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def _answer(self, scope: Scope) -> Answer:
        if scope["method"] == "OPTIONS":
            return Answer(HTTPStatus.NO_CONTENT, (_ALLOW, (b"cache-control", b"no-store")), b"")
        if scope["method"] not in {"GET", "HEAD"}:
            return plain_answer(HTTPStatus.METHOD_NOT_ALLOWED, _ALLOW)
        body = self._written(scope.get("root_path") or "")
        return Answer(HTTPStatus.OK, (*self._headers, (b"content-length", b"%d" % len(body))), body)
