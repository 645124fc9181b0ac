"""Limits as requests meet them: what is refused burns nothing, what waits is looked at again, what is left is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.asgi.limiting import fields_of, telling
from asgi_apikey.asgi.types import ASGIApp, Message
from asgi_apikey.errors import APIKeyError, LimitExceeded, StoreUnavailable
from asgi_apikey.limits import LimitPolicy, limit_rule, name_of
from asgi_apikey.measures import Charge, Meter, Reading
from asgi_apikey.metering import MemoryMeters
from asgi_apikey.models import Instant, IssuedKey
from tests.asgi.driver import Inner, Reply, http, serve, websocket
from tests.fakes import FakeClock

pytestmark = pytest.mark.anyio


class Gate:
    """Meters that do something before they answer."""

    def __init__(self) -> None:
        self.real = MemoryMeters()
        self.taken: list[Sequence[Charge]] = []
        self.meanwhile: Callable[[], Any] | None = None

    async def take(self, charges: Sequence[Charge], now: Instant) -> tuple[Reading, ...]:
        """Note it, let happen what is to happen, and answer."""
        self.taken.append(charges)
        if self.meanwhile is not None:
            await self.meanwhile()
        return await self.real.take(charges, now)

    async def prune(self, now: Instant) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class Desk:
    """Keys in memory, their meters, and an application behind them."""

    def __init__(self, keys: APIKeys, meters: Gate, clock: FakeClock) -> None:
        self.keys, self.meters, self.clock = keys, meters, clock
        self.inner = Inner()

    async def issue(self, *limits: str, **columns: Any) -> IssuedKey:
        """Make a key with limits."""
        return await self.keys.issue(owner="acme", limits=limits, **columns)

    def guarded(self, **options: Any) -> APIKeyMiddleware:
        """The application behind a middleware."""
        return APIKeyMiddleware(self.inner, keys=self.keys, **options)

    async def send(self, app: ASGIApp, issued: IssuedKey, **parts: Any) -> Reply:
        """Send a request with a key."""
        path = parts.get("path", "/")
        return await serve(app, http((b"x-api-key", issued.key.encode()), raw_path=path.encode(), **parts))

    async def uses(self, issued: IssuedKey) -> int:
        """How often a key was used, as is written down."""
        await self.keys.flush()
        return (await self.keys.get(issued.record.key_id)).uses


@asynccontextmanager
async def desk_with(**policy: Any) -> AsyncIterator[Desk]:
    """A desk with a policy."""
    clock, meters = FakeClock(), Gate()
    keys = APIKeys("memory:", pepper=None, clock=clock, meters=meters, limiting=LimitPolicy(**policy))
    async with keys:
        yield Desk(keys, meters, clock)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A desk without a policy."""
    async with desk_with() as desk:
        yield desk


@pytest.mark.parametrize("options", [{}, {"strip": True}, {"cookie": "key"}], ids=["straight", "strip", "close look"])
async def test_a_key_is_let_in_as_often_as_its_limits_say(desk: Desk, options: dict[str, Any]) -> None:
    """Then 429; when there is something again, it is let in again. Each request counts once."""
    app, issued = desk.guarded(**options), await desk.issue("3/minute")
    statuses = [(await desk.send(app, issued)).status for _ in range(5)]
    desk.clock.advance(20.0)
    statuses += [(await desk.send(app, issued)).status for _ in range(2)]

    assert statuses == [200, 200, 200, 429, 429, 200, 429]
    assert desk.inner.calls == 4


async def test_a_bearer_key_is_limited_like_any(desk: Desk) -> None:
    """Also on the straight line, where it is seen with its scheme in front."""
    app, issued = desk.guarded(header=None, bearer=True), await desk.issue("1/minute")
    scope = (b"authorization", b"Bearer " + issued.key.encode())
    replies = [await serve(app, http(scope)) for _ in range(2)]

    assert [each.status for each in replies] == [200, 429]


async def test_what_is_left_is_told_in_the_fields_of_the_draft(desk: Desk) -> None:
    """Of every limit, on good and on bad answers."""
    app, issued = desk.guarded(), await desk.issue("2/minute", "quota 50/day", "credits 9")
    good = await desk.send(app, issued)
    await desk.send(app, issued)
    bad = await desk.send(app, issued)
    policy = b'"2/minute";q=2;w=60, "credits 9";q=9;qu="credits", "quota 50/day";q=50;w=86400'

    assert good.header(b"ratelimit-policy") == [policy]
    assert good.header(b"ratelimit") == [b'"2/minute";r=1;t=30, "credits 9";r=8, "quota 50/day";r=49;t=57600']
    assert bad.header(b"ratelimit-policy") == [policy]
    assert bad.header(b"ratelimit") == [b'"2/minute";r=0;t=30, "credits 9";r=7, "quota 50/day";r=48;t=57600']
    assert bad.header(b"retry-after") == [b"30"]
    assert b'"rate_exceeded"' in bad.body


@pytest.mark.parametrize(("limit", "retry_after"), [("quota 1/day", [b"57600"]), ("credits 1", [])])
async def test_a_quota_says_when_it_is_back_and_credits_say_nothing(
    desk: Desk, limit: str, retry_after: list[bytes]
) -> None:
    """However long that is; what never comes back is not waited for."""
    app, issued = desk.guarded(), await desk.issue(limit)
    await desk.send(app, issued)
    refused = await desk.send(app, issued)

    assert refused.status == 429
    assert b'"quota_exceeded"' in refused.body
    assert refused.header(b"retry-after") == retry_after


async def test_nothing_is_told_where_nothing_is_limited(desk: Desk) -> None:
    """Nor are the meters asked, nor does the answer go through anything of ours."""
    app, issued = desk.guarded(), await desk.issue()
    reply = await desk.send(app, issued)

    assert reply.status == 200
    assert reply.header(b"ratelimit") == []
    assert desk.meters.taken == []


async def test_who_is_refused_for_another_reason_burns_nothing(desk: Desk) -> None:
    """Scope, network, route, a wrong secret, a disabled key: the meters are not asked. Nor for who needs no key."""
    app = desk.guarded(scopes=["orders:read"], exempt=["/health"])
    there = {"client": ("192.0.2.1", 1)}
    no_scope = await desk.issue("5/minute")
    elsewhere = await desk.issue("5/minute", scopes=["orders:read"], networks=["10.0.0.0/8"])
    other_route = await desk.issue("5/minute", scopes=["orders:read"], routes=["POST /"])
    disabled = await desk.issue("5/minute", scopes=["orders:read"])
    await desk.keys.disable(disabled.record.key_id)
    for _ in range(2):
        replies = [await desk.send(app, each, **there) for each in (no_scope, elsewhere, other_route, disabled)]
        assert [each.status for each in replies] == [403, 403, 403, 401]
    exempt = await desk.send(app, no_scope, path="/health", **there)
    preflight = http((b"origin", b"https://x"), (b"access-control-request-method", b"GET"), method="OPTIONS")
    assert (await serve(app, preflight)).status == exempt.status == 200

    assert desk.meters.taken == []


@pytest.mark.parametrize("cold", [True, False], ids=["cold", "remembered"])
@pytest.mark.parametrize(
    ("change", "status"),
    [("revoke", 401), ("disable", 401), ("delete", 401), ("no scope", 403), ("no network", 403), ("end", 401)],
)
async def test_what_changes_while_it_is_counted_counts(desk: Desk, change: str, status: int, cold: bool) -> None:
    """The last look is the one before the application runs, not the one before the wait."""
    app, issued = desk.guarded(scopes=["a"]), await desk.issue("5/minute", scopes=["a"], expires_in=60)
    key_id = issued.record.key_id
    if not cold:
        await desk.send(app, issued, client=("192.0.2.1", 1))

    async def meanwhile() -> None:
        if change == "no scope":
            await desk.keys.amend(key_id, scopes=["b"])
        elif change == "no network":
            await desk.keys.amend(key_id, networks=["10.0.0.0/8"])
        elif change == "end":
            desk.clock.advance(60.0)
        else:
            await getattr(desk.keys, change)(key_id)

    desk.meters.meanwhile = meanwhile
    calls = desk.inner.calls
    reply = await desk.send(app, issued, client=("192.0.2.1", 1))

    assert reply.status == status
    assert desk.inner.calls == calls


async def test_a_change_that_takes_nothing_away_lets_in_whoever_waits(desk: Desk) -> None:
    """With what the key is now."""
    app, issued = desk.guarded(), await desk.issue("5/minute")

    async def meanwhile() -> None:
        await desk.keys.amend(issued.record.key_id, name="renamed")

    desk.meters.meanwhile = meanwhile
    reply = await desk.send(app, issued)

    assert reply.status == 200
    assert desk.inner.seen[-1].name == "renamed"


async def test_a_request_is_one_use_and_one_charge(desk: Desk) -> None:
    """Looking twice does not count twice, nor do two layers of the middleware charge twice."""
    app, issued = APIKeyMiddleware(desk.guarded(), keys=desk.keys), await desk.issue("9/minute")
    for _ in range(4):
        assert (await desk.send(app, issued)).status == 200

    assert len(desk.meters.taken) == 4
    assert await desk.uses(issued) == 4
    assert desk.keys.stats.accepted + desk.keys.stats.hits == 4


async def test_what_cannot_be_counted_is_503(desk: Desk) -> None:
    """With Retry-After, and the application does not run."""
    app, issued = desk.guarded(), await desk.issue("9/minute")

    async def broken() -> None:
        raise StoreUnavailable

    desk.meters.meanwhile = broken
    reply = await desk.send(app, issued)

    assert reply.status == 503
    assert reply.header(b"retry-after") == [b"1"]
    assert desk.inner.calls == 0


async def test_a_fault_of_the_meters_is_503_also_where_outages_let_in() -> None:
    """A broken plug is no reason to stop counting."""
    async with desk_with(fail_open=True) as desk:
        app, issued = desk.guarded(), await desk.issue("9/minute")

        async def unreachable() -> None:
            raise StoreUnavailable

        async def faulty() -> None:
            raise RuntimeError("a fault")

        desk.meters.meanwhile = unreachable
        let_in = await desk.send(app, issued)
        desk.meters.meanwhile = faulty
        refused = await desk.send(app, issued)

    assert (let_in.status, refused.status) == (200, 503)
    assert let_in.header(b"ratelimit") == []


async def test_routes_cost_credits_by_the_path_that_the_client_knows() -> None:
    """An odd spelling is never a way to a cheaper one."""
    async with desk_with(costs={"GET /reports/*": 5}) as desk:
        app, issued = desk.guarded(), await desk.issue("credits 100")
        for path in ("/reports/1", "/x", "/reports//1", "/x/../reports/1"):
            await desk.send(app, issued, path=path)
        costs = [charges[0].cost for charges in desk.meters.taken]

    assert costs == [5, 1, 5, 5]


async def test_a_handshake_is_counted_and_its_messages_are_not(desk: Desk) -> None:
    """One more than there may be is refused before it is accepted."""
    app, issued = desk.guarded(), await desk.issue("1/minute")
    handshake = (b"x-api-key", issued.key.encode())
    await serve(app, websocket(handshake))
    reached = desk.inner.calls
    second = await serve(app, websocket(handshake))

    assert (reached, desk.inner.calls) == (1, 1)
    assert second.status == 429
    assert second.header(b"ratelimit") == [b'"1/minute";r=0;t=60']


async def test_own_words_for_a_refusal_are_told_with_what_is_left(desk: Desk) -> None:
    """The application says it in its way, and knows why."""
    heard: list[APIKeyError] = []

    def on_refusal(error: APIKeyError) -> ASGIApp:
        heard.append(error)
        return Inner()

    app, issued = desk.guarded(on_refusal=on_refusal), await desk.issue("1/minute")
    await desk.send(app, issued)
    reply = await desk.send(app, issued)

    assert isinstance(heard[0], LimitExceeded)
    assert heard[0].retry_after == 60.0
    assert reply.header(b"ratelimit") == [b'"1/minute";r=0;t=60']


async def test_the_owner_is_told_apart_in_the_fields() -> None:
    """By the name of the limit."""
    async with desk_with(per_owner=["10/minute"], per_key=["10/minute"]) as desk:
        reply = await desk.send(desk.guarded(), await desk.issue())

    assert reply.header(b"ratelimit") == [b'"10/minute";r=9;t=6, "owner 10/minute";r=9;t=6']


def a_reading(text: str, remaining: int, resets_in: float | None, prefix: str = "") -> Reading:
    """What a meter shows."""
    rule = limit_rule(text)
    return Reading(Meter("g", "s", name_of(rule), rule, prefix + text), remaining, resets_in)


@pytest.mark.parametrize(
    ("text", "resets_in", "policy", "state"),
    [
        ("5/15 minutes", 0.2, b'"5/15 minutes";q=5;w=900', b'"5/15 minutes";r=4;t=1'),
        ("quota 5/hour", 7.0, b'"quota 5/hour";q=5;w=3600', b'"quota 5/hour";r=4;t=7'),
        ("quota 5/month", 8.1, b'"quota 5/month";q=5;w=2419200', b'"quota 5/month";r=4;t=9'),
        ("quota 5", None, b'"quota 5";q=5', b'"quota 5";r=4'),
        ("credits 5/day", 0.0, b'"credits 5/day";q=5;qu="credits";w=86400', b'"credits 5/day";r=4;t=0'),
    ],
)
def test_each_kind_of_limit_has_its_field(text: str, resets_in: float | None, policy: bytes, state: bytes) -> None:
    """Whole numbers; seconds are rounded up."""
    assert fields_of([a_reading(text, 4, resets_in)]) == [(b"ratelimit-policy", policy), (b"ratelimit", state)]


async def test_an_answer_is_left_as_it_is_but_for_the_fields() -> None:
    """The application's own message is not touched: it may send it again."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    told, start = telling(send, [a_reading("5/minute", 4, 1.0)]), {"type": "http.response.start", "status": 204}
    await told(start)
    await told({"type": "http.response.body", "body": b""})

    assert start == {"type": "http.response.start", "status": 204}
    assert [name for name, _ in sent[0]["headers"]] == [b"ratelimit-policy", b"ratelimit"]
    assert sent[1] == {"type": "http.response.body", "body": b""}
    assert telling(send, ()) is send
