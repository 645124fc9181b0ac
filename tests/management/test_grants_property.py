"""Whatever somebody makes of a key through the API, it can do nothing that he could not."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import Message, Scope
from asgi_apikey.errors import APIKeyError, GrantExceeded
from asgi_apikey.management.application import Management
from asgi_apikey.management.authorisers import KeyAuthoriser
from asgi_apikey.models import IssuedKey, KeyRecord, KeyRequest
from tests.asgi.driver import http
from tests.fakes import NOON, FakeClock
from tests.management.rights import (
    ENVIRONMENTS,
    OWNERS,
    TENANTS,
    allows_address,
    allows_page,
    allows_route,
    doable_by_key,
    grantable_by_key,
)
from tests.wiring import PEPPER

_SAMPLE = 1_000_000
"""Fuzz rounds from which on this is the long run, of a tenth as many cases, with new input."""
_WORLD = 100
"""Cases after which the world is made anew, before the store grows long."""

HERE = "10.0.0.1"
SCOPES = ["a", "a.b", "a.c", "a.b.c", "a:b", "b", "*", "a.*", "a:*", "a.b.*"]
MANAGING = ["apikeys:read", "apikeys:revoke", "apikeys:operator", "apikeys:tenants", "apikeys:*"]
NETWORKS = [
    "10.0.0.0/30",
    "10.0.0.0/31",
    "10.0.0.2/31",
    "10.0.0.1",
    "!10.0.0.2",
    "!10.0.0.0/31",
    "::/126",
    "!::2",
    "0.0.0.0/0",
]
ROUTES = [
    "/*",
    "/a/*",
    "/a/b/*",
    "/a",
    "/k/*",
    "GET /*",
    "GET,POST /a/*",
    "POST /a/b",
    "WEBSOCKET /*",
    "HEAD,PATCH /k/*",
]
HERE_PAGE = "https://a.example.com"
ORIGINS = [HERE_PAGE, "https://b.example.com", "https://*.example.com", "https://*.b.example.com"]
FOREIGN = {"owner": OWNERS, "tenant": TENANTS, "environment": ENVIRONMENTS}
_PAGE = (b"origin", HERE_PAGE.encode())
ENDS = [None, NOON + 100, NOON + 200, NOON + 300]


def some(rng: random.Random, values: list[str], most: int = 3) -> list[str]:
    """A few of them, none rather often."""
    return rng.sample(values, rng.choice([0, 0, *range(1, most + 1)]))


def rfc3339(instant: float | None) -> str | None:
    """The instant as the API reads it; all of ours are whole seconds of one minute or five after noon."""
    if instant is None:
        return None
    minutes, seconds = divmod(int(instant - NOON), 60)
    return f"2027-01-15T08:{minutes:02}:{seconds:02}Z"


def rights(rng: random.Random) -> dict[str, Any]:
    """What a request or a record says that a key may do."""
    return {
        "scopes": some(rng, SCOPES) + some(rng, MANAGING, 1),
        "networks": some(rng, NETWORKS),
        "routes": some(rng, ROUTES),
        "origins": some(rng, ORIGINS),
        "expires_at": rng.choice(ENDS),
    }


class World:
    """An API over a store of its own."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.delegates = rng.random() < 0.5
        self.clock = FakeClock()
        self.keys = APIKeys("memory:", pepper=PEPPER, clock=self.clock)
        self.authoriser = KeyAuthoriser(self.keys, delegates=self.delegates)
        self.app = Management(self.keys, self.authoriser, clock=self.clock)

    def wanted(self, granter: IssuedKey) -> dict[str, Any]:
        """Rights that somebody might ask for; rather often those of the granter's own key."""
        own = granter.record
        if self.rng.random() < 0.5:
            return rights(self.rng)
        scopes = list(own.scopes) if self.rng.random() < 0.2 else sorted(own.scopes & set(SCOPES))
        return {
            "scopes": scopes,
            "networks": sorted(own.networks),
            "routes": sorted(own.routes),
            "origins": sorted(own.origins),
            "expires_at": own.expires_at,
        }

    def whose(self, granter: IssuedKey) -> dict[str, str]:
        """In whose name; rather often the granter's."""
        own = granter.record
        if self.rng.random() < 0.7:
            return {"owner": own.owner, "tenant": own.tenant, "environment": own.environment}
        return {name: self.rng.choice(each) for name, each in FOREIGN.items()}

    async def target(self, granter: IssuedKey) -> KeyRecord:
        """A key that was not made through the API."""
        return (await self.keys.issue(name="k", **self.whose(granter), **self.wanted(granter))).record

    async def granter(self) -> IssuedKey:
        """A key that may call the API from here."""
        rng = self.rng
        while True:
            fields = rights(rng)
            networks, routes = frozenset(fields["networks"]), frozenset(fields["routes"])
            called = all(allows_route(routes, method, "/k/x") for method in ("POST", "PATCH"))
            seen = allows_page(frozenset(fields["origins"]), HERE_PAGE)
            if allows_address(networks, HERE) and called and seen:
                break
        fields["scopes"] += ["apikeys:write"]
        return await self.keys.issue(owner=rng.choice(OWNERS), tenant=rng.choice(TENANTS), name="granter", **fields)

    async def ask(self, granter: IssuedKey, method: str, path: str, body: object) -> tuple[int, Any]:
        """Send one request, as the granter; return status and answer."""
        key = (b"x-api-key", granter.key.encode())
        scope = http(
            key,
            _PAGE,
            (b"content-type", b"application/json"),
            method=method,
            path=f"/k{path}",
            raw_path=None,
            root_path="/k",
        )
        return await answered(self.app, scope | {"client": (HERE, 1)}, json.dumps(body).encode())


async def answered(app: Management, scope: Scope, body: bytes) -> tuple[int, Any]:
    """Serve one request in this process."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


# ---- what somebody tries ----


async def create(world: World, granter: IssuedKey) -> tuple[int, Any]:
    """Make a key, with some of the fields."""
    rng = world.rng
    body = {**world.whose(granter), **world.wanted(granter)}
    body |= {"expires_at": rfc3339(body["expires_at"])}
    if body["expires_at"] is None and rng.random() < 0.5:
        body |= rng.choice([{"expires_in": rng.choice([50, 150, 250])}, {"expires_in_days": 1}])
    left_out = some(rng, sorted(body), 2) if rng.random() < 0.5 else []
    body = {name: value for name, value in body.items() if name not in left_out}
    return await world.ask(granter, "POST", "/", {"name": "child", **body})


async def amend(world: World, granter: IssuedKey) -> tuple[int, Any]:
    """Change a key that is there, its rights or only its name."""
    rng = world.rng
    fields = world.wanted(granter)
    target = await world.target(granter)
    body: dict[str, Any] = {
        name: rng.choice([value, value, None]) for name, value in fields.items() if rng.random() < 0.4
    }
    if "expires_at" in body:
        body["expires_at"] = rfc3339(body["expires_at"])
    return await world.ask(granter, "PATCH", f"/{target.key_id}", body or {"name": "renamed"})


async def rotate(world: World, granter: IssuedKey) -> tuple[int, Any]:
    """Make a successor of a key, some time into its life."""
    rng = world.rng
    target = await world.target(granter)
    return await world.ask(granter, "POST", f"/{target.key_id}/rotate", rng.choice([{}, {"grace": 0}]))


async def enable(world: World, granter: IssuedKey) -> tuple[int, Any]:
    """Switch a key on that is off, or was never off."""
    target = await world.target(granter)
    if world.rng.random() < 0.8:
        await world.keys.disable(target.key_id)
    return await world.ask(granter, "POST", f"/{target.key_id}/enable", {})


async def adopt(world: World, granter: IssuedKey) -> tuple[int, Any]:
    """Take over a key of one's own making, by the same grant as the API's."""
    fields, whose = world.wanted(granter), world.whose(granter)
    request = KeyRequest(
        owner=whose["owner"],
        tenant=whose["tenant"],
        scopes=frozenset(fields["scopes"]),
        networks=frozenset(fields["networks"]),
        routes=frozenset(fields["routes"]),
        origins=frozenset(fields["origins"]),
        expires_at=fields["expires_at"],
    )
    scope = http(
        (b"x-api-key", granter.key.encode()), _PAGE, path="/k/x", raw_path=None, method="POST", client=(HERE, 1)
    )
    caller = await world.authoriser.authorise(scope)
    key = world.keys.format.generate(whose["environment"]).key
    try:
        adopted = await world.keys.adopt(key, request, granter=caller.grant)
    except GrantExceeded as error:
        return 403, {"code": error.code}
    except APIKeyError as error:
        return 422, {"code": error.code}
    return 201, {"record": {"key_id": adopted.record.key_id}}


ATTEMPTS: list[Callable[..., Any]] = [create, amend, rotate, enable, adopt]


# ---- the property ----

EXPECTED = frozenset({200, 201, 403, 404, 422})
"""No attempt fails for want of a credential, and none breaks anything."""


async def attempted(world: World) -> str:
    """Let somebody try something; check that he has gained nothing by it."""
    rng = world.rng
    granter = await world.granter()
    attempt = rng.choice(ATTEMPTS)
    before = await world.keys.count()
    status, answer = await attempt(world, granter)
    assert status in EXPECTED, (status, answer)
    allowed = grantable_by_key(granter.record, delegates=world.delegates)
    if status < 300:
        made = await world.keys.get(answer["record"]["key_id"])
        beyond = doable_by_key(made).beyond(allowed)
        assert beyond == [], f"{attempt.__name__} by {granter.record} gave {made}: beyond in {beyond}"
    elif answer["code"] == "grant_exceeded":
        # Nothing was made: of the keys that are new, the attempt's own target is the only one.
        assert await world.keys.count() <= before + 1
    return f"{attempt.__name__} {status}"


async def cases(rng: random.Random, rounds: int) -> Counter[str]:
    """Try so often; return what came of it."""
    told: Counter[str] = Counter()
    world = World(rng)
    for number in range(rounds):
        if number % _WORLD == 0:
            await world.keys.close()
            world = World(rng)
        told[await attempted(world)] += 1
    await world.keys.close()
    return told


@pytest.mark.fuzz
def test_nothing_is_handed_on_beyond_what_one_has(fuzz_rounds: int) -> None:
    """On create, amend, rotate, enable and adopt; `make fuzz` tries 100,000 and more."""
    long = fuzz_rounds >= _SAMPLE
    rounds = fuzz_rounds // 10 if long else fuzz_rounds // 20
    seed = secrets.randbits(64) if long else 0

    told = asyncio.run(cases(random.Random(seed), rounds))

    assert sum(told.values()) == rounds, seed
    for attempt in ATTEMPTS:
        # Both answers were seen often, so the property is not about requests that fail for other reasons.
        good = sum(count for what, count in told.items() if what.startswith(f"{attempt.__name__} 2"))
        assert min(good, told[f"{attempt.__name__} 403"]) >= rounds // 500, told


@pytest.mark.anyio
async def test_the_oracle_sees_what_is_beyond() -> None:
    """It is not the package's rules again, and it finds each kind of gain."""
    keys = APIKeys("memory:", pepper=PEPPER, clock=FakeClock())
    little = await keys.issue(
        owner="x",
        scopes={"a.b"},
        networks=["10.0.0.0/31"],
        routes=["GET /a/*"],
        origins=[HERE_PAGE],
        expires_at=NOON + 100,
    )
    much = await keys.issue(owner="y", scopes={"a.*"})

    assert doable_by_key(much.record).beyond(doable_by_key(little.record)) == [
        "scopes",
        "addresses",
        "routes",
        "pages",
        "names",
        "until",
    ]
    assert doable_by_key(little.record).beyond(doable_by_key(little.record)) == []
