"""A management API over some store, and people who call it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import httpx

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import ASGIApp, Scope
from asgi_apikey.errors import MissingCredential
from asgi_apikey.grants import EVERYTHING, Grant
from asgi_apikey.limits import UNLIMITED
from asgi_apikey.management import EVERY_ACTION, Action, Caller
from asgi_apikey.models import Actor
from asgi_apikey.policy import EVERY_ROUTE, EVERYWHERE
from tests.wiring import PEPPER

ANYTHING: Final = Grant(
    scopes=frozenset({"*", "apikeys:*"}),
    tenants=EVERYTHING,
    owners=EVERYTHING,
    environments=EVERYTHING,
    networks=EVERYWHERE,
    routes=EVERY_ROUTE,
    limits=UNLIMITED,
    origins=EVERYTHING,
    until=math.inf,
)


def owner(name: str, tenant: str = "", scopes: frozenset[str] = frozenset({"*"})) -> Caller:
    """Somebody who manages their own keys."""
    grant = Grant(
        scopes=scopes,
        tenants=frozenset({tenant}),
        owners=frozenset({name}),
        environments=frozenset({"live"}),
        networks=EVERYWHERE,
        routes=EVERY_ROUTE,
        limits=UNLIMITED,
        origins=EVERYTHING,
        until=math.inf,
    )
    return Caller(actor=Actor(name), grant=grant, actions=EVERY_ACTION, owner=name, tenant=tenant)


CALLERS: Final = {
    "root": Caller(actor=Actor("root"), grant=ANYTHING, actions=EVERY_ACTION),
    "other-root": Caller(actor=Actor("other-root"), grant=ANYTHING, actions=EVERY_ACTION),
    "tenant-root": Caller(actor=Actor("tenant-root"), grant=ANYTHING, actions=EVERY_ACTION, tenant="t1"),
    "alice": owner("alice"),
    "bob": owner("bob"),
    "reader": Caller(actor=Actor("reader"), actions=frozenset({Action.READ}), owner="alice", tenant=""),
    "powerless": Caller(actor=Actor("powerless"), grant=ANYTHING),
    "little": owner("alice", scopes=frozenset({"orders:read"})),
}


async def by_header(scope: Scope) -> Caller:
    """Believe a header: who calls is not what is tested here."""
    for name, value in scope["headers"]:
        if name == b"x-caller" and value.decode() in CALLERS:
            return CALLERS[value.decode()]
    raise MissingCredential


@dataclass(frozen=True)
class Desk:
    """A client that speaks to the API.

    Attributes:
        keys: Behind it.
        http: In front of it.
        who: Calls, unless another is named.
    """

    keys: APIKeys
    http: httpx.AsyncClient
    who: str = "root"

    def of(self, who: str) -> Desk:
        """The same, for another caller."""
        return Desk(self.keys, self.http, who)

    async def ask(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response:
        """Send one request; a body goes as JSON."""
        headers = {"x-caller": self.who} | options.pop("headers", {})
        if body is not None:
            options["json"] = body
        return await self.http.request(method, path, headers=headers, **options)

    async def make(self, **fields: object) -> dict[str, Any]:
        """Issue a key; return the answer."""
        answer = await self.ask("POST", "/", {"name": "a key", "owner": "alice", **fields})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def made(self, **fields: object) -> str:
        """Issue a key; return its id."""
        key_id: str = (await self.make(**fields))["record"]["key_id"]
        return key_id


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client that calls the application in this process; what it raises is raised here."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://keys.example")


def memory_keys(**options: Any) -> APIKeys:
    """Return keys that are kept in memory."""
    return APIKeys("memory:", pepper=PEPPER, **options)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of a problem, having seen that it is one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert told["status"] == answer.status_code
    return answer.status_code, told["code"]
