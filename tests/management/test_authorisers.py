"""Who may manage: by key, by token, by session, and by one of several."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import (
    AmbiguousCredential,
    APIKeyError,
    ConfigurationError,
    DisabledKey,
    ExpiredKey,
    InvalidKey,
    InvalidToken,
    MalformedKey,
    MissingCredential,
    MissingScope,
    NetworkNotAllowed,
    OriginNotAllowed,
    RevokedKey,
    RouteNotAllowed,
    StoreUnavailable,
    Undecidable,
    UnknownKey,
    WrongEnvironment,
    WrongSecret,
)
from asgi_apikey.grants import EVERYTHING, grant_of
from asgi_apikey.management.authorisers import AnyOf, JWTAuthoriser, KeyAuthoriser, SessionAuthoriser, authoriser_of
from asgi_apikey.management.callers import Action, Authoriser, Caller
from asgi_apikey.models import Actor, KeyRecord, Principal
from asgi_apikey.policy import NO_ROUTE, NOWHERE
from asgi_apikey.repositories.memory import MemoryRepository
from tests.asgi.driver import http
from tests.fakes import NOON, FakeClock, Watched
from tests.jwt import issuer
from tests.wiring import PEPPER, forged

pytestmark = pytest.mark.anyio

SESSION = Caller(actor=Actor("alice"), actions=frozenset({Action.READ}), owner="alice", tenant="")


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


@pytest.fixture
def store() -> Watched:
    """A store that can be stopped and watched."""
    return Watched(MemoryRepository())


@pytest.fixture
async def keys(clock: FakeClock, store: Watched) -> AsyncIterator[APIKeys]:
    """Keys over that store."""
    async with APIKeys(repository=store, pepper=PEPPER, single_process=True, clock=clock) as keys:  # type: ignore[arg-type] # it passes everything on
        yield keys


def presenting(key: str | bytes, **parts: object) -> Scope:
    """A request with a key in the header."""
    return http((b"x-api-key", key.encode() if isinstance(key, str) else key), **parts)


def bearing(value: str | bytes, *headers: tuple[bytes, bytes]) -> Scope:
    """A request with a Bearer value."""
    return http((b"authorization", b"Bearer " + (value.encode() if isinstance(value, str) else value)), *headers)


async def outcome(authoriser: Authoriser, scope: Scope) -> type[APIKeyError] | Caller:
    """The caller, or the class of the refusal."""
    try:
        return await authoriser.authorise(scope)
    except APIKeyError as error:
        return type(error)


# ---- by key ----


async def test_a_key_with_scopes_for_it_manages_its_owners_keys(keys: APIKeys) -> None:
    """From the header or as Bearer; its record says who it is and what it may hand on."""
    issued = await keys.issue(
        owner="acme",
        tenant="eu",
        scopes={"apikeys:read", "apikeys:write", "orders:*"},
        networks=["192.0.2.0/24"],
        expires_in=600,
    )

    by_header = await KeyAuthoriser(keys).authorise(presenting(issued.key))
    by_bearer = await KeyAuthoriser(keys).authorise(bearing(issued.key))

    assert by_header == by_bearer
    assert by_header.actions == {Action.READ, Action.WRITE}
    assert (by_header.owner, by_header.tenant, by_header.key_id) == ("acme", "eu", issued.record.key_id)
    assert by_header.actor == Actor(f"key:{issued.record.key_id}")
    assert by_header.grant == replace(grant_of(issued.record), scopes=frozenset({"orders:*"}))


@pytest.mark.parametrize("scopes", [set(), {"*"}, {"orders:*"}, {"apikeys"}, {"apikeys.*"}, {"apikeys:operator"}])
async def test_a_data_key_never_manages(keys: APIKeys, scopes: set[str]) -> None:
    """However much data it is for."""
    issued = await keys.issue(owner="acme", scopes=scopes)

    assert await outcome(KeyAuthoriser(keys), presenting(issued.key)) is MissingScope


async def test_the_operators_key_is_everybodys(keys: APIKeys) -> None:
    """The first one comes from the command line."""
    issued = await keys.issue(owner="ops", scopes={"apikeys:*", "*"})

    caller = await KeyAuthoriser(keys).authorise(presenting(issued.key))

    assert (caller.owner, caller.tenant, caller.grant.owners) == (None, None, EVERYTHING)
    assert caller.grant.scopes == {"*"}


async def test_who_may_delegate_may_hand_on_management_too(keys: APIKeys) -> None:
    """What it has of it."""
    issued = await keys.issue(owner="ops", scopes={"apikeys:write", "a"})

    caller = await KeyAuthoriser(keys, delegates=True).authorise(presenting(issued.key))

    assert caller.grant.scopes == {"apikeys:write", "a"}


async def test_the_callers_key_is_read_from_the_store_each_time(keys: APIKeys, store: Watched) -> None:
    """Also one that was seen a moment ago."""
    issued = await keys.issue(owner="acme", scopes={"apikeys:read"})
    authoriser = KeyAuthoriser(keys)
    await authoriser.authorise(presenting(issued.key))
    before = store.calls["get"]

    await authoriser.authorise(presenting(issued.key))

    assert store.calls["get"] == before + 1


async def test_what_memory_says_of_a_key_does_not_count(keys: APIKeys, store: Watched) -> None:
    """A record changed by other means is believed at once, however long verdicts are remembered."""
    issued = await keys.issue(owner="acme", scopes={"apikeys:read"})
    authoriser, scope = KeyAuthoriser(keys), presenting(issued.key)
    await authoriser.authorise(scope)
    told: dict[str, type[APIKeyError]] = {}

    for name, record in {
        "gone": None,
        "scopes": replace(issued.record, scopes=frozenset({"*"})),
        "revoked": replace(issued.record, revoked_at=NOON),
        "disabled": replace(issued.record, disabled_at=NOON),
        "expired": replace(issued.record, expires_at=NOON),
        "environment": replace(issued.record, environment="test"),
        "secret": replace(issued.record, digest=(await keys.issue(owner="b")).record.digest),
        "scheme": replace(issued.record, digest="rot13$x"),
        "networks": replace(issued.record, networks=frozenset({"nowhere"})),
    }.items():
        overwrite(store, issued.record.key_id, record)
        told[name] = await outcome(authoriser, scope)  # type: ignore[assignment]

    assert told == {
        "gone": UnknownKey,
        "scopes": MissingScope,
        "revoked": RevokedKey,
        "disabled": DisabledKey,
        "expired": ExpiredKey,
        "environment": WrongEnvironment,
        "secret": WrongSecret,
        "scheme": WrongSecret,
        "networks": Undecidable,
    }


async def test_a_key_is_bound_to_its_networks_pages_and_routes_here_too(keys: APIKeys) -> None:
    """The path is the whole one, with the mount."""
    scopes = {"apikeys:read"}
    at_home = await keys.issue(owner="acme", scopes=scopes, networks=["10.0.0.0/8"])
    reading = await keys.issue(owner="acme", scopes=scopes, routes=["GET /api-keys/*"])
    paged = await keys.issue(owner="acme", scopes=scopes, origins=["https://a.example"])
    authoriser = KeyAuthoriser(keys)

    assert await outcome(authoriser, presenting(at_home.key)) is NetworkNotAllowed
    assert isinstance(await outcome(authoriser, presenting(at_home.key, client=("10.1.2.3", 1))), Caller)
    assert await outcome(authoriser, presenting(paged.key)) is OriginNotAllowed
    on_its_page = http((b"x-api-key", paged.key.encode()), (b"origin", b"https://a.example"))
    assert isinstance(await outcome(authoriser, on_its_page), Caller)
    assert await outcome(authoriser, presenting(reading.key)) is RouteNotAllowed
    assert isinstance(await outcome(authoriser, presenting(reading.key, path="/api-keys/x", raw_path=None)), Caller)


async def test_a_key_that_is_none_is_refused_as_everywhere(keys: APIKeys) -> None:
    """Missing, twice, malformed, unknown, wrong."""
    issued = await keys.issue(owner="acme", scopes={"apikeys:read"})
    authoriser = KeyAuthoriser(keys)

    assert await outcome(authoriser, http()) is MissingCredential
    assert await outcome(authoriser, http((b"x-api-key", b"a"), (b"x-api-key", b"a"))) is AmbiguousCredential
    assert await outcome(authoriser, bearing(issued.key, (b"x-api-key", b"a"))) is AmbiguousCredential
    assert await outcome(authoriser, presenting("")) is MalformedKey
    assert await outcome(authoriser, presenting("ak_live_nonsense")) is MalformedKey
    assert await outcome(authoriser, presenting(keys.format.generate("live").key)) is UnknownKey
    assert await outcome(authoriser, presenting(forged(keys.format, issued.record.key_id))) is WrongSecret


async def test_without_the_store_nobody_manages(keys: APIKeys, store: Watched) -> None:
    """It cannot be decided, also for a key that every data route still lets in."""
    issued = await keys.issue(owner="acme", scopes={"apikeys:read"})
    await KeyAuthoriser(keys).authorise(presenting(issued.key))
    store.failures["get"] = StoreUnavailable()

    assert keys.authenticate_nowait(issued.key.encode()) is not None
    assert await outcome(KeyAuthoriser(keys), presenting(issued.key)) is StoreUnavailable


# ---- by token ----


SIGNER = issuer.signer("HS256")


def tokens(clock: FakeClock, **options: object) -> JWTAuthoriser:
    """Manages by the tokens of one issuer."""
    verifier = issuer.verifier(SIGNER, clock=clock, scope_map=ROLES, tenant_claim="org")
    return JWTAuthoriser(verifier, **options)  # type: ignore[arg-type]


ROLES = {
    "orders:read": ("orders:read",),
    "keys": ("apikeys:read", "apikeys:write"),
    "admin": ("apikeys:*", "*"),
}


def token(scope: str, **claims: object) -> str:
    """An honest token with these roles."""
    return issuer.token(SIGNER, scope=scope, org="eu", **claims).decode()


async def test_a_token_with_scopes_for_it_manages_its_subjects_keys(clock: FakeClock) -> None:
    """What is handed on has the token's scopes and not its few minutes."""
    caller = await tokens(clock).authorise(bearing(token("orders:read keys")))

    assert caller.actions == {Action.READ, Action.WRITE}
    assert (caller.owner, caller.tenant, caller.key_id, caller.actor) == ("alice", "eu", None, Actor("jwt:alice"))
    assert (caller.grant.scopes, caller.grant.until) == ({"orders:read"}, math.inf)
    assert (caller.grant.owners, caller.grant.tenants, caller.grant.environments) == ({"alice"}, {"eu"}, {"live"})


async def test_a_role_of_the_issuer_makes_an_operator(clock: FakeClock) -> None:
    """By the verifier's `scope_map`."""
    caller = await tokens(clock).authorise(bearing(token("admin")))

    assert (caller.owner, caller.tenant, caller.grant.scopes) == (None, None, {"*"})


async def test_everybody_who_can_log_in_may_be_allowed_to_manage(clock: FakeClock) -> None:
    """With scopes that the issuer knows nothing about."""
    authoriser = tokens(clock, scopes=("apikeys:read", "bills:*"))

    caller = await authoriser.authorise(bearing(token("orders:read")))

    assert caller.actions == {Action.READ}
    assert caller.grant.scopes == {"orders:read", "bills:*"}


async def test_a_token_without_such_scopes_manages_nothing(clock: FakeClock) -> None:
    """And one that is none, or is over, is no credential."""
    authoriser = tokens(clock)

    assert await outcome(authoriser, bearing(token("orders:read"))) is MissingScope
    assert await outcome(authoriser, bearing(token("keys", exp=NOON - 60))) is InvalidToken
    assert await outcome(authoriser, bearing(token("keys")[:-4] + "AAAA")) is InvalidToken
    assert await outcome(authoriser, http()) is MissingCredential
    assert await outcome(authoriser, http((b"x-api-key", token("keys").encode()))) is MissingCredential


async def test_restrictions_that_can_only_be_asked_are_not_handed_on() -> None:
    """A verifier of the application may make principals with restrictions of its own."""

    class Anywhere:
        def refusals(self, **_: object) -> tuple[()]:
            return ()

    class Verifier:
        async def authenticate(self, presented: bytes) -> Principal:
            return Principal(key_id="x", owner="o", scopes=frozenset({"apikeys:write"}), restrictions=Anywhere())

    caller = await JWTAuthoriser(Verifier()).authorise(bearing("a.b.c"))

    assert (caller.grant.networks, caller.grant.routes, caller.grant.origins) == (NOWHERE, NO_ROUTE, frozenset())


# ---- by session ----


async def session(scope: Scope) -> Caller:
    """The application's own function: one cookie is Alice's."""
    if (b"cookie", b"sid=alice") not in scope["headers"]:
        raise InvalidKey
    return SESSION


COOKIE = (b"cookie", b"sid=alice")


async def test_the_applications_own_word_is_taken() -> None:
    """Yes and no."""
    authoriser = SessionAuthoriser(session)

    assert await outcome(authoriser, http(COOKIE)) == SESSION
    assert await outcome(authoriser, http()) is InvalidKey


async def test_another_sites_requests_are_without_session() -> None:
    """The browser sends the cookie along all the same."""
    authoriser = SessionAuthoriser(session)
    elsewhere = (b"sec-fetch-site", b"cross-site")

    assert await outcome(authoriser, http(COOKIE, elsewhere, method="POST")) is MissingCredential
    assert await outcome(authoriser, http(COOKIE, elsewhere)) == SESSION
    assert await outcome(authoriser, http(COOKIE, method="POST")) == SESSION


async def test_a_function_that_returns_something_else_authorises_nobody() -> None:
    """`True` is no caller."""

    async def careless(scope: Scope) -> Caller:
        return True  # type: ignore[return-value]

    with pytest.raises(TypeError):
        await SessionAuthoriser(careless).authorise(http())


# ---- by one of several ----


class Judge:
    """Notes that it was asked, and refuses."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self._name = name
        self._asked = asked

    async def verify(self, presented: bytes, *, client: str | None = None) -> KeyRecord:
        """As keys do."""
        self._asked.append(self._name)
        raise UnknownKey

    async def authenticate(self, presented: bytes) -> Principal:
        """As tokens do."""
        self._asked.append(self._name)
        raise InvalidToken("signature")

    async def session(self, scope: Scope) -> Caller:
        """As sessions do."""
        self._asked.append(self._name)
        raise InvalidKey


def all_three(asked: list[str], **options: bool) -> AnyOf:
    """Takes all kinds; each refuses."""
    return AnyOf(
        keys=KeyAuthoriser(Judge("key", asked), **options),  # type: ignore[arg-type]
        tokens=JWTAuthoriser(Judge("token", asked)),
        session=SessionAuthoriser(Judge("session", asked).session, cookie="sid"),
    )


@pytest.mark.parametrize(
    ("scope", "judge"),
    [
        (presenting("ak_live_x"), "key"),
        (presenting("a.b.c"), "key"),
        (bearing("ak_live_x"), "key"),
        (bearing("a.b.c"), "token"),
        (http(COOKIE), "session"),
        (http(COOKIE, (b"authorization", b"Basic YTpi")), "session"),
    ],
)
async def test_one_judge_is_asked_by_the_shape_and_its_no_is_final(scope: Scope, judge: str) -> None:
    """Nobody else is asked afterwards."""
    asked: list[str] = []

    assert isinstance(await outcome(all_three(asked), scope), type)
    assert asked == [judge]


async def test_where_keys_are_not_read_from_bearer_all_of_it_is_tokens() -> None:
    """And where tokens are not taken, all of it is keys."""
    asked: list[str] = []
    key_in_header_only = all_three(asked, bearer=False)
    no_tokens = AnyOf(
        keys=KeyAuthoriser(Judge("key", asked)), session=SessionAuthoriser(Judge("s", asked).session, cookie="sid")
    )
    no_keys = AnyOf(
        tokens=JWTAuthoriser(Judge("token", asked)),
        session=SessionAuthoriser(Judge("session", asked).session, cookie="sid"),
    )

    await outcome(key_in_header_only, bearing("ak_live_x"))
    await outcome(no_tokens, bearing("a.b.c"))
    await outcome(no_keys, bearing("ak_live_x"))
    await outcome(no_keys, http(COOKIE))

    assert asked == ["token", "key", "token", "session"]


@pytest.mark.parametrize(
    "scope",
    [
        http(COOKIE, (b"x-api-key", b"ak_live_x")),
        bearing("a.b.c", COOKIE),
        bearing("a.b.c", (b"x-api-key", b"ak_live_x")),
        bearing("a.b.c", (b"authorization", b"Bearer ak_live_x")),
        http((b"cookie", b"sid=alice; sid=bob")),
    ],
)
async def test_two_credentials_are_one_too_many(scope: Scope) -> None:
    """Whatever each of them is worth; nobody is asked."""
    asked: list[str] = []

    assert await outcome(all_three(asked), scope) is AmbiguousCredential
    assert asked == []


async def test_none_at_all_is_missing() -> None:
    """Also when something stands in a place that nobody reads."""
    asked: list[str] = []

    assert await outcome(all_three(asked), http((b"cookie", b"other=1"), (b"x-token", b"x"))) is MissingCredential
    assert asked == []


# ---- construction ----


def test_what_cannot_be_wired_is_refused_at_once() -> None:
    """With the fix in the message."""
    key, sess = KeyAuthoriser(Judge("key", [])), SessionAuthoriser(session)
    attempts = [
        lambda: KeyAuthoriser(object()),  # type: ignore[arg-type]
        lambda: KeyAuthoriser(Judge("key", []), header=None, bearer=False),
        lambda: KeyAuthoriser(Judge("key", []), delegates="no"),  # type: ignore[arg-type]
        lambda: JWTAuthoriser(object()),  # type: ignore[arg-type]
        lambda: JWTAuthoriser(Judge("token", []), scopes="apikeys:read"),
        lambda: JWTAuthoriser(Judge("token", []), scopes=("a b",)),
        lambda: JWTAuthoriser(Judge("token", []), scopes=("apikeys:read", "apikeys:operator")),
        lambda: JWTAuthoriser(Judge("token", []), scopes=("apikeys:*",)),
        lambda: SessionAuthoriser(lambda scope: SESSION),  # type: ignore[arg-type, return-value]
        lambda: AnyOf(keys=key),
        lambda: AnyOf(keys=key, session=sess),
    ]

    for attempt in attempts:
        with pytest.raises(ConfigurationError):
            attempt()


def test_keys_are_not_taken_for_tokens() -> None:
    """An `APIKeys` has an `authenticate` too."""
    with pytest.raises(ConfigurationError):
        JWTAuthoriser(APIKeys("memory:", pepper=None))


async def test_an_async_function_is_an_authoriser() -> None:
    """Also a partial one, and an object that is called like one."""

    class Callable:
        async def __call__(self, scope: Scope) -> Caller:
            return SESSION

    for function in (session, functools.partial(session), Callable()):
        assert await outcome(authoriser_of(function), http(COOKIE)) == SESSION


def test_an_authoriser_stays_what_it_is() -> None:
    """`AnyOf` and those of the application."""
    authoriser = KeyAuthoriser(Judge("key", []))

    assert authoriser_of(authoriser) is authoriser


@pytest.mark.parametrize("nobody", [None, True, "keys", KeyAuthoriser, lambda scope: SESSION, object()])
def test_without_an_authoriser_there_is_no_management(nobody: object) -> None:
    """Nor with something that could not be asked."""
    with pytest.raises(ConfigurationError, match="who may manage"):
        authoriser_of(nobody)


def overwrite(store: Watched, key_id: str, record: KeyRecord | None) -> None:
    """Change a record behind everybody's back."""
    records = store._inner._records  # type: ignore[attr-defined]
    if record is None:
        records.pop(key_id, None)
    else:
        records[key_id] = record
