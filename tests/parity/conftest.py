"""The service as users of an earlier system would call it, and the page that tells them what differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import ASGIApp
from asgi_apikey.models import DAY
from asgi_apikey.service.application import API, application
from asgi_apikey.settings import ServiceSettings
from tests.docs.pages import DOCS, code_words
from tests.fakes import FakeClock
from tests.wiring import PEPPER


@dataclass(frozen=True, slots=True)
class World:
    """A service over a store in memory, with an operator and an owner."""

    app: ASGIApp
    keys: APIKeys
    clock: FakeClock
    http: httpx.AsyncClient
    operator: str
    owner: str

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """Call the management API; as the operator, unless it is with another key, or none."""
        key = self.operator if key is None else key
        named = {"X-API-Key": key} if key else {}
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        content = {} if body is None else {"json": body}
        return await self.http.request(method, API + path, headers=named | sent, **content)  # type: ignore[arg-type]

    async def make(self, *, key: str | None = None, **fields: object) -> tuple[str, dict[str, Any]]:
        """Make a key; return it and its record."""
        answer = await self.ask("POST", "/", {"name": "a key", "owner": "acme"} | fields, key=key)
        assert answer.status_code == 201, answer.text
        return answer.json()["key"], answer.json()["record"]


@pytest.fixture
async def world(anyio_backend: str) -> AsyncIterator[World]:
    """A new one for each test."""
    clock = FakeClock()
    # Counts are written at the end: the clock jumps, and what waits for the next interval would not.
    keys = APIKeys("memory:", pepper=PEPPER, clock=clock, usage_interval=365 * DAY)
    app = application(keys, ServiceSettings())
    operator = await keys.issue(owner="ops", scopes={"apikeys:*", "*"})
    scopes = {"apikeys:read", "apikeys:write", "apikeys:revoke", "apikeys:verify", "orders:*", "service:billing"}
    owner = await keys.issue(owner="acme", scopes=scopes)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        yield World(app, keys, clock, http, operator.key, owner.key)
    await keys.close()


def said(page: str) -> set[str]:
    """Everything in backticks on a page for people who come from an earlier system."""
    return code_words((DOCS / "howto" / page).read_text(encoding="utf-8"))


def missing(page: str, names: set[str]) -> set[str]:
    """Which of the names a page does not mention, alone or as the beginning of something in backticks."""
    words = said(page)
    return {name for name in names if not any(name == word or name in word for word in words)}
