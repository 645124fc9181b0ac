"""Every request in, a principal or a refusal out."""

from __future__ import annotations

import inspect
import logging

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.admission import ADMISSION, CURRENT, get_api_key
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.errors import (
    APIKeyError,
    ConfigurationError,
    InvalidKey,
    MissingScope,
    Overloaded,
    RateLimited,
    StoreUnavailable,
)
from asgi_apikey.models import Principal
from tests.asgi.driver import (
    ALICE,
    BOB,
    CAROL,
    COLD,
    GOOD,
    OTHER,
    FakeKeys,
    Inner,
    every_error,
    http,
    key,
    serve,
    serve_now,
    step_through,
    websocket,
)

pytestmark = pytest.mark.anyio

PREFLIGHT = ((b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT"))


def guard(inner: Inner, keys: FakeKeys, **options: object) -> APIKeyMiddleware:
    """The middleware under test."""
    return APIKeyMiddleware(inner, keys=keys, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [GOOD, COLD], ids=["cached", "cold"])
@pytest.mark.parametrize("make", [http, websocket])
async def test_a_good_key_reaches_the_application(keys, inner, make, value) -> None:
    """The application finds the principal in the state and in the context."""
    contexts = []

    async def look(scope: Scope) -> None:
        contexts.append((get_api_key(), get_api_key(scope)))

    inner.work = look
    principal = ALICE if value == GOOD else CAROL
    await serve(guard(inner, keys), make(key(value)))

    assert inner.seen == [principal]
    assert contexts == [(principal, principal)]
    assert CURRENT.get() is None


@pytest.mark.parametrize("make", [http, websocket])
async def test_no_key_is_refused(keys, inner, make) -> None:
    """Nothing presented is 401 with a challenge, on HTTP and as a denied handshake."""
    reply = await serve(guard(inner, keys), make())

    assert reply.status == 401
    assert reply.header(b"www-authenticate") == [b'ApiKey realm="api"']
    assert b'"missing_credential"' in reply.body
    assert inner.calls == 0


async def test_a_server_without_denial_responses_is_told_to_close(keys, inner) -> None:
    """Before the handshake is accepted, with code 1008."""
    reply = await serve(guard(inner, keys), websocket(denial=False))

    assert [(m["type"], m.get("code")) for m in reply.messages] == [("websocket.close", 1008)]
    assert inner.calls == 0


def test_a_cached_key_is_accepted_without_a_suspension(keys, inner) -> None:
    """The whole way to the application and back is one step of the coroutine."""
    reply = step_through(guard(inner, keys), http(key()))

    assert reply.status == 200
    assert keys.asked == []


@pytest.mark.parametrize("options", [{}, {"cookie": "k"}], ids=["straight", "close look"])
def test_nothing_is_awaited_between_the_last_look_and_the_application(inner, options) -> None:
    """When `authenticate` returns without suspending, the application is reached in the same step."""

    class Eager(FakeKeys):
        async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
            return ALICE

    reply = step_through(guard(inner, Eager(), **options), http(key(b"anything")))

    assert reply.status == 200


async def test_servers_recognise_it_as_asgi_3(keys, inner) -> None:
    """`__call__` is a coroutine function of three arguments."""
    app = guard(inner, keys)

    assert inspect.iscoroutinefunction(app.__call__)
    assert list(inspect.signature(app.__call__).parameters) == ["scope", "receive", "send"]


async def test_the_peers_address_is_passed_on(keys, inner) -> None:
    """As text from a tuple or a list, None where there is none."""
    app = guard(inner, keys)
    for client in [("192.0.2.7", 1), ["192.0.2.8", 1], None, ("", 0), (), (None, 0), "192.0.2.9"]:
        await serve(app, http(key(COLD), client=client))

    assert [client for _, client in keys.asked] == ["192.0.2.7", "192.0.2.8", None, None, None, None, None]


async def test_a_key_without_the_scope_is_refused(keys, inner) -> None:
    """Authenticated and not authorised is 403, cached or not."""
    keys.stored[b"cold_bob"] = BOB
    app = guard(inner, keys, scopes=["orders:read"])

    assert [(await serve(app, http(key(k)))).status for k in (OTHER, b"cold_bob", GOOD, COLD)] == [403, 403, 200, 200]
    assert inner.seen == [ALICE, CAROL]


# --- fail closed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("make", [http, websocket])
async def test_no_error_of_ours_lets_a_request_in(keys, inner, make, kind) -> None:
    """Whatever `authenticate` raises, the application is not called, and the answer is no 500."""
    error = kind.__new__(kind)
    Exception.__init__(error, "x")
    error.__dict__.update(key_id="k", retry_after=2.0, required=frozenset({"a"}), readings=())
    keys.rejected[b"bad"] = error
    reply = await serve(guard(inner, keys, required=False), make(key(b"bad")))

    assert inner.calls == 0
    assert reply.status in {400, 401, 403, 429, 503}


class SpecialError(Exception):
    """Not one of ours; its text holds a secret."""


@pytest.mark.parametrize(
    "error",
    [
        SpecialError("ak_live_good"),
        KeyError("k"),
        TypeError(),
        OSError(),
        TimeoutError(),
        ExceptionGroup("g", [OSError()]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["nowait", "authenticate"])
@pytest.mark.parametrize("options", [{}, {"strip": True}], ids=["straight", "close look"])
async def test_a_fault_of_ours_is_503(keys, inner, caplog, error, where, options) -> None:
    """The application is not called, the log names the fault and not its text."""

    def fail(presented: bytes) -> Principal:
        raise error

    if where == "nowait":
        keys.authenticate_nowait = fail
    keys.rejected[b"bad"] = error
    with caplog.at_level(logging.DEBUG):
        reply = await serve(guard(inner, keys, required=False, **options), http(key(b"bad")))

    assert reply.status == 503
    assert reply.header(b"retry-after") == [b"1"]
    assert inner.calls == 0
    assert type(error).__name__ in caplog.text
    assert "ak_live_good" not in caplog.text


@pytest.mark.parametrize("answer", [None, "alice", object(), True])
async def test_an_answer_that_is_no_principal_lets_nobody_in(keys, inner, answer) -> None:
    """A broken `authenticate` cannot make an anonymous request out of a refused one."""
    keys.stored[b"odd"] = answer  # type: ignore[assignment]
    reply = await serve(guard(inner, keys, required=False), http(key(b"odd")))

    assert reply.status == 503
    assert inner.calls == 0


@pytest.mark.parametrize(
    "broken",
    [
        {"headers": None},
        {"headers": 5},
        {"headers": [(b"x-api-key",)]},
        {"headers": [None]},
        {"headers": [(None, None)]},
        {"headers": [(b"x-api-key", None)]},
        {"headers": [(b"x-api-key", "text")]},
        {"query_string": "text"},
        {"path": None},
        {"method": None, "headers": 1},
    ],
    ids=repr,
)
@pytest.mark.parametrize("options", [{}, {"query_param": "k", "cookie": "k", "bearer": True, "exempt": ["/a"]}])
async def test_a_broken_scope_is_never_let_in(keys, inner, broken, options) -> None:
    """A host's mistake is answered 401 or 503, never 500, and never reaches the application."""
    reply = await serve(guard(inner, keys, **options), http(**broken))

    assert reply.status in {401, 503}
    assert inner.calls == 0


async def test_headers_that_fail_while_being_read_are_no_anonymous_request(keys, inner) -> None:
    """A generator that breaks off is 503, even where a key is not required."""

    def lines():
        yield b"host", b"x"
        raise OSError

    reply = await serve(guard(inner, keys, required=False), http(headers=lines()))

    assert reply.status == 503
    assert inner.calls == 0


@pytest.mark.parametrize("cancelled", [KeyboardInterrupt(), GeneratorExit(), SystemExit()], ids=repr)
async def test_an_interruption_is_not_an_answer(keys, inner, cancelled) -> None:
    """It passes through, and the application is not called."""
    keys.rejected[b"bad"] = cancelled
    with pytest.raises(type(cancelled)):
        await serve(guard(inner, keys), http(key(b"bad")))

    assert inner.calls == 0


@pytest.mark.parametrize("value", [GOOD, COLD])
async def test_what_the_application_raises_passes_untouched(keys, inner, value) -> None:
    """Even an error of ours: it was not ours to raise, and the response may have begun."""
    error = StoreUnavailable("raised by a handler")

    async def fail(scope: Scope) -> None:
        raise error

    inner.work = fail
    with pytest.raises(StoreUnavailable) as caught:
        await serve(guard(inner, keys), http(key(value)))

    assert caught.value is error
    assert CURRENT.get() is None


@pytest.mark.parametrize("kind", ["webtransport", "lifespan.v2", "", None])
async def test_an_unknown_kind_of_connection_is_not_passed_on(keys, inner, kind) -> None:
    """ASGI asks for an exception; the application is not called."""
    with pytest.raises(ConfigurationError, match="cannot be guarded"):
        await serve(guard(inner, keys, required=False), http(key(), type=kind))

    assert inner.calls == 0


async def test_a_scope_without_a_type_is_not_passed_on(keys, inner) -> None:
    """There is no way to answer it, so it raises."""
    for options in ({}, {"strip": True}):
        scope = http(key())
        del scope["type"]
        with pytest.raises(ConfigurationError):
            await guard(inner, keys, **options)(scope, None, None)  # type: ignore[arg-type]

    assert inner.calls == 0


# --- one identical answer ----------------------------------------------------------------------------------------


async def test_every_rejected_key_gets_the_same_bytes(keys, inner) -> None:
    """Status, headers, their order and the body are equal for all subclasses of InvalidKey, on every place."""
    app = guard(inner, keys, bearer=True)
    kinds = [kind for kind in every_error() if issubclass(kind, InvalidKey)]
    replies = []
    for number, kind in enumerate(kinds):
        keys.rejected[b"bad%d" % number] = kind("an-id")
        replies.append((await serve(app, http(key(b"bad%d" % number)))).messages)
    replies.append((await serve(app, http(key(b"")))).messages)
    replies.append((await serve(app, http((b"authorization", b"Bearer")))).messages)

    assert len(kinds) >= 9
    assert all(messages == replies[0] for messages in replies)


# --- the state -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"strip": True}], ids=["straight", "close look"])
class TestState:
    """The state rule: cleared on every path, nobody else's, and what handlers write reaches the layers outside."""

    @pytest.mark.parametrize(
        "state", [None, "absent", 7, {}, {"pool": 1}, {"api_key": BOB}, {"api_key": "admin"}], ids=repr
    )
    async def test_the_entry_is_always_ours(self, keys, inner, options, state) -> None:
        """Whatever was there before, keyed and anonymous requests find their own."""
        app = guard(inner, keys, required=False, exempt=["/health"], **options)
        for scope in (http(key()), http(), http(key(), path="/health"), http(*PREFLIGHT, method="OPTIONS")):
            scope["state"] = dict(state) if isinstance(state, dict) else state
            if state == "absent":
                del scope["state"]
            await serve(app, scope)

        assert inner.seen == [ALICE, None, None, None]

    async def test_writing_in_place_reaches_the_layers_outside(self, keys, inner, options) -> None:
        """A state of this request alone is not replaced."""
        state: dict[str, object] = {"pool": 1}

        async def write(scope: Scope) -> None:
            scope["state"]["written"] = 1

        inner.work = write
        await serve(guard(inner, keys, **options), http(key(), state=state))

        assert state == {"pool": 1, "api_key": ALICE, "written": 1}

    async def test_a_claimed_state_is_copied(self, keys, inner, options) -> None:
        """Somebody else's entry is not overwritten where he still looks at it."""
        state = {"api_key": BOB, "pool": 1}
        await serve(guard(inner, keys, **options), http(key(), state=state))

        assert state == {"api_key": BOB, "pool": 1}
        assert inner.scopes[0]["state"] == {"api_key": ALICE, "pool": 1}

    async def test_a_lifespans_own_state_is_copied(self, keys, inner, options) -> None:
        """The dictionary that a running lifespan was given stays free of principals."""
        state: dict[str, object] = {"pool": 1}
        keys.lifespan_states[id(state)] = state
        await serve(guard(inner, keys, **options), http(key(), state=state))

        assert state == {"pool": 1}
        assert inner.scopes[0]["state"] == {"api_key": ALICE, "pool": 1}

    @pytest.mark.parametrize("remembered", [True, False])
    async def test_a_shared_dictionary_mixes_nobody_up(self, keys, options, remembered) -> None:
        """60 concurrent requests on one state dictionary, 0 see somebody else's principal."""
        shared: dict[str, object] = {"pool": 1}
        if remembered:
            keys.lifespan_states[id(shared)] = shared
        wanted = {b"a": ALICE, b"b": BOB, b"c": CAROL, b"": None}
        sent = {b"a": (key(),), b"b": (key(OTHER),), b"c": (key(COLD),), b"": ()}
        arrived, wrong, everybody = [], [], anyio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            arrived.append(1)
            if len(arrived) == 60:
                everybody.set()
            await everybody.wait()
            own = wanted[scope["query_string"]]
            if scope["state"]["api_key"] is not own or get_api_key() is not own:
                wrong.append(scope)

        guarded = APIKeyMiddleware(app, keys=keys, required=False, **options)
        async with anyio.create_task_group() as group:
            for number in range(60):
                who = list(wanted)[number % 4]
                group.start_soon(serve, guarded, http(*sent[who], query_string=who, state=shared))

        assert len(arrived) == 60
        assert wrong == []

    async def test_a_refused_requests_state_is_cleared_too(self, keys, inner, options) -> None:
        """What answers in our place sees nobody, in the state and in the context."""
        seen = []

        def words(error: APIKeyError):
            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                seen.append((scope["state"]["api_key"], get_api_key()))

            return app

        app = guard(inner, keys, on_refusal=words, scopes=["orders:read"], **options)
        for lines in ((), (key(b"bad"),), (key(), key()), (key(OTHER),)):
            await serve(app, http(*lines, state={"api_key": ALICE}))

        assert seen == [(None, None)] * 4

    async def test_the_entrys_name_can_be_chosen(self, keys, options) -> None:
        """And `get_api_key` takes the same name."""
        inner = Inner(state_key="caller")
        await serve(guard(inner, keys, state_key="caller", **options), http(key()))

        assert inner.seen == [ALICE]
        assert get_api_key(inner.scopes[0], state_key="caller") is ALICE
        assert "api_key" not in inner.scopes[0]["state"]


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"cookie": "k"}], ids=["straight", "close look"])
async def test_late_trailers_do_not_appear_inside(keys, inner, options) -> None:
    """What a server adds to its list later is not in the application's."""
    scope = http(key())
    servers = scope["headers"]

    async def trailer(inside: Scope) -> None:
        servers.append((b"x-forwarded-for", b"10.0.0.1"))

    inner.work = trailer
    await serve(guard(inner, keys, **options), scope)

    assert inner.scopes[0]["headers"] == [(b"host", b"example"), key()]


@pytest.mark.parametrize("kind", [list, tuple, iter, lambda lines: (line for line in lines), lambda x: map(list, x)])
@pytest.mark.parametrize("value", [GOOD, COLD])
async def test_any_iterable_of_lines_is_read_once(keys, inner, kind, value) -> None:
    """ASGI promises no more than an iterable of pairs."""
    reply = await serve(guard(inner, keys), http(headers=kind([(b"host", b"x"), key(value)])))

    assert reply.status == 200
    assert [tuple(line) for line in inner.scopes[0]["headers"]] == [(b"host", b"x"), key(value)]


@pytest.mark.parametrize("name", [b"x-api-key", b"X-API-Key", b"X-API-KEY", b"x-Api-kEY"])
async def test_names_have_no_case(keys, inner, name) -> None:
    """ASGI asks for lower case and does not promise it."""
    assert (await serve(guard(inner, keys), http(key(name=name)))).status == 200


async def test_a_duplicate_in_other_case_is_a_duplicate(keys, inner) -> None:
    """Whoever reads the other line must not see another key than we did."""
    reply = await serve(guard(inner, keys), http(key(), key(name=b"X-Api-Key")))

    assert reply.status == 400
    assert inner.calls == 0


@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t "])
async def test_blanks_around_a_value_are_no_part_of_it(keys, inner, blanks) -> None:
    """Httptools leaves trailing ones."""
    assert (await serve(guard(inner, keys), http(key(blanks + GOOD + blanks)))).status == 200


async def test_the_header_is_kept_unless_stripped(keys, inner) -> None:
    """Handlers may read the key themselves; with `strip` nobody inside can."""
    await serve(guard(inner, keys), http(key()))
    await serve(guard(inner, keys, strip=True), http(key(), key(b"kept", b"x-other")))

    assert key() in inner.scopes[0]["headers"]
    assert inner.scopes[1]["headers"] == [(b"host", b"example"), key(b"kept", b"x-other")]


async def test_stripping_is_for_every_place_and_every_path(keys, inner) -> None:
    """Bearer, cookie and query lose the credential alone, on exempt paths as well."""
    app = guard(
        inner, keys, header=None, bearer=True, cookie="k", query_param="k", strip=True, exempt=["/x"], required=False
    )
    await serve(app, http((b"authorization", b"Bearer " + GOOD)))
    await serve(app, http((b"authorization", b"Basic eDp5")))
    await serve(app, http((b"cookie", b"a=1; k=" + GOOD + b"; b=2")))
    await serve(app, http((b"cookie", b"k=" + GOOD)))
    await serve(app, http(query_string=b"a=1&k=" + GOOD + b"&b=2"))
    await serve(app, http((b"cookie", b"k=" + GOOD), path="/x", raw_path=b"/x", query_string=b"k=" + GOOD))
    left = [(scope["headers"][1:], scope["query_string"]) for scope in inner.scopes]

    assert left == [
        ([], b""),
        ([(b"authorization", b"Basic eDp5")], b""),
        ([(b"cookie", b"a=1; b=2")], b""),
        ([], b""),
        ([], b"a=1&b=2"),
        ([], b""),
    ]
    assert inner.seen == [ALICE, None, ALICE, ALICE, ALICE, None]


# --- query -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "status"), [(GOOD, 200), (b"bad", 401), (GOOD + b"&k=" + GOOD, 400)], ids=["good", "bad", "twice"]
)
@pytest.mark.parametrize("path", ["/orders", "/health"])
async def test_a_key_in_the_query_is_redacted_in_the_servers_own_scope(keys, inner, query, status, path) -> None:
    """In the very dictionary the access log reads, let in or refused or exempt."""
    app = guard(inner, keys, header=None, query_param="k", exempt=["/health"])
    scope = http(query_string=b"a=1&k=" + query, path=path, raw_path=path.encode())
    reply = await serve(app, scope)

    assert reply.status == (200 if path == "/health" else status)
    assert b"ak_live" not in scope["query_string"]
    assert b"bad" not in scope["query_string"]
    assert scope["query_string"].startswith(b"a=1&k=REDACTED")


async def test_the_query_is_left_alone_where_it_is_no_place(keys, inner) -> None:
    """Another component may use the parameter."""
    scope = http(key(), query_string=b"api_key=theirs")
    await serve(guard(inner, keys), scope)

    assert scope["query_string"] == b"api_key=theirs"


# --- who may pass without ------------------------------------------------------------------------------------------


async def test_an_exempt_path_is_anonymous_whatever_is_presented(keys, inner) -> None:
    """No key is looked at, so health checks work while the store does not."""
    app = guard(inner, keys, exempt=["/health"], scopes=["orders:read"])
    for lines in ((), (key(),), (key(b"bad"),), (key(), key())):
        await serve(app, http(*lines, path="/health", raw_path=b"/health"))

    assert inner.seen == [None] * 4
    assert keys.told == 0
    assert keys.asked == []


@pytest.mark.parametrize(
    ("method", "lines", "allowed"),
    [
        ("OPTIONS", PREFLIGHT, True),
        ("OPTIONS", (*PREFLIGHT, (b"content-length", b"0")), True),
        ("OPTIONS", (*PREFLIGHT, (b"content-length", b"2")), False),
        ("OPTIONS", (*PREFLIGHT, (b"transfer-encoding", b"chunked")), False),
        ("OPTIONS", (PREFLIGHT[0], (PREFLIGHT[1][0], b"PUT, GET")), False),
        ("OPTIONS", (), False),
        ("OPTIONS", PREFLIGHT[:1], False),
        ("OPTIONS", PREFLIGHT[1:], False),
        ("OPTIONS", (PREFLIGHT[0], *PREFLIGHT), False),
        ("OPTIONS", (PREFLIGHT[0], (PREFLIGHT[1][0], b"")), False),
        ("options", PREFLIGHT, False),
        ("GET", PREFLIGHT, False),
        ("OPTIONS ", PREFLIGHT, False),
    ],
)
async def test_only_a_genuine_preflight_passes_anonymously(keys, inner, method, lines, allowed) -> None:
    """All of it, spelled as browsers do."""
    reply = await serve(guard(inner, keys), http(*lines, method=method))

    assert reply.status == (200 if allowed else 401)
    assert inner.seen == ([None] if allowed else [])


@pytest.mark.parametrize(
    ("lines", "query", "status"),
    [
        ([(b"x-api-key", b"bad")], b"", 401),
        ([(b"x-api-key", b"")], b"", 401),
        ([(b"authorization", b"Bearer bad")], b"", 401),
        ([(b"authorization", b"Bearer")], b"", 401),
        ([(b"authorization", b"Basic YTpi"), (b"authorization", b"Basic YTpi")], b"", 400),
        ([(b"cookie", b"a=b; session=bad")], b"", 401),
        ([], b"a=b&key=bad", 401),
        ([], b"key=", 401),
        ([(b"x-api-key", GOOD), (b"x-api-key", GOOD)], b"", 400),
    ],
)
async def test_who_presents_a_credential_with_a_preflight_is_judged_by_it(keys, inner, lines, query, status) -> None:
    """In any enabled place, readable or not: a revoked key must not look as if it worked."""
    app = guard(inner, keys, bearer=True, cookie="session", query_param="key")
    reply = await serve(app, http(*PREFLIGHT, *lines, method="OPTIONS", query_string=query))

    assert reply.status == status
    assert inner.seen == []


async def test_a_good_key_on_a_preflight_is_not_thrown_away(keys, inner) -> None:
    """It is an ordinary request then; what stands in places that are not enabled makes no difference."""
    await serve(guard(inner, keys), http(*PREFLIGHT, key(), method="OPTIONS"))
    await serve(guard(inner, keys), http(*PREFLIGHT, (b"authorization", b"Bearer bad"), method="OPTIONS"))

    assert inner.seen == [ALICE, None]


async def test_preflights_can_be_guarded(keys, inner) -> None:
    """Where a CORS layer outside answers them, none should arrive; and OPTIONS with a key is an ordinary request."""
    app = guard(inner, keys, allow_preflight=False)

    assert (await serve(app, http(*PREFLIGHT, method="OPTIONS"))).status == 401
    assert (await serve(app, http(*PREFLIGHT, key(), method="OPTIONS"))).status == 200


async def test_an_optional_key_is_still_checked(keys, inner) -> None:
    """Without a credential a request is anonymous, with a bad one it is refused."""
    app = guard(inner, keys, required=False, bearer=True, scopes=["orders:read"])
    cases = [(), (key(),), (key(b"bad"),), (key(b""),), (key(), key()), ((b"authorization", b"Bearer"),), (key(OTHER),)]

    assert [(await serve(app, http(*lines))).status for lines in cases] == [200, 200, 401, 401, 400, 401, 403]
    assert inner.seen == [None, ALICE]


# --- nested ------------------------------------------------------------------------------------------------------


class TestNested:
    """One inside another."""

    @pytest.mark.parametrize("strip", [False, True])
    @pytest.mark.parametrize("value", [GOOD, COLD])
    async def test_the_same_keys_are_asked_once(self, keys, inner, strip, value) -> None:
        """The inner layer takes over the verdict, even where the outer one has taken the key away."""
        app = guard(guard(inner, keys, bearer=True), keys, strip=strip)
        reply = await serve(app, http(key(value)))

        assert reply.status == 200
        assert keys.told + len(keys.asked) - (value == GOOD and strip) == 1
        assert inner.seen == [ALICE if value == GOOD else CAROL]

    async def test_the_inner_layers_requirements_are_applied(self, keys, inner) -> None:
        """Its scopes are asked for."""
        app = guard(guard(inner, keys, scopes=["orders:read"]), keys)

        assert (await serve(app, http(key(OTHER)))).status == 403
        assert (await serve(app, http(key()))).status == 200

    async def test_an_anonymous_verdict_is_none(self, keys, inner) -> None:
        """What passed outside for lack of a key, or on an exempt path, must show one further in."""
        app = guard(guard(inner, keys), keys, required=False, exempt=["/health"])

        assert (await serve(app, http())).status == 401
        assert (await serve(app, http(path="/health", raw_path=b"/health"))).status == 401
        assert (await serve(app, http(key(), path="/health", raw_path=b"/health"))).status == 200

    async def test_other_keys_authenticate_anew(self, keys, inner) -> None:
        """Being let in by one says nothing to the other."""
        others = FakeKeys()
        others.cached = {OTHER: BOB}
        app = guard(guard(inner, others, header="X-Inner"), keys)

        assert (await serve(app, http(key()))).status == 401
        assert (await serve(app, http(key(), key(name=b"x-inner")))).status == 401
        assert (await serve(app, http(key(), key(OTHER, b"x-inner")))).status == 200
        assert inner.seen == [BOB]

    async def test_a_credential_the_outer_layer_has_not_seen_is_checked(self, keys, inner) -> None:
        """A request made out of another one's scope, with other headers, is not that other one."""
        layer = guard(inner, keys)

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            lines = [line for line in scope["headers"] if line[0] != b"x-api-key"]
            new = scope["path"].encode()[1:]
            await layer({**scope, "headers": [*lines, *([key(new)] if new else [])]}, receive, send)

        app = APIKeyMiddleware(dispatch, keys=keys)

        assert (await serve(app, http(key(), path="/bad"))).status == 401
        assert (await serve(app, http(key(), path="/" + OTHER.decode()))).status == 200
        assert (await serve(app, http(key(), path="/"))).status == 200
        assert inner.seen == [BOB, ALICE]

    async def test_a_verdict_does_not_outlive_its_request(self, keys, inner) -> None:
        """The same dictionary served again after the revoke is refused."""
        app = guard(inner, keys)
        for scope, value in ((http(key()), GOOD), (http(key(COLD)), COLD)):
            assert (await serve(app, scope)).status == 200
            keys.cached.pop(value, None)
            keys.stored.pop(value, None)
            assert (await serve(app, scope)).status == 401

        assert scope.get(ADMISSION) is None

    async def test_the_state_still_flows_outwards(self, keys, inner) -> None:
        """Two layers of ours make no copy, so what handlers write reaches what stands around both."""
        state: dict[str, object] = {}
        await serve(guard(guard(inner, keys), keys), http(key(), state=state))

        assert state == {"api_key": ALICE}
        assert inner.scopes[0]["state"] is state

    async def test_a_layer_with_another_entry_fills_its_own(self, keys) -> None:
        """Each has its `state_key`."""
        inner = Inner(state_key="b")
        await serve(guard(guard(inner, keys, state_key="b"), keys, state_key="a"), http(key()))

        assert inner.scopes[0]["state"] == {"a": ALICE, "b": ALICE}

    async def test_whoever_answers_for_the_inner_layer_sees_nobody(self, keys, inner) -> None:
        """Not whom the outer layer let in with other keys, in the context either."""
        seen = []

        def words(error: APIKeyError):
            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                seen.append((get_api_key(), get_api_key(scope)))

            return app

        others = FakeKeys()
        await serve(guard(guard(inner, others, header="X-Inner", on_refusal=words), keys), http(key()))

        assert seen == [(None, None)]

    async def test_a_redacted_query_key_is_taken_over(self, keys, inner) -> None:
        """The placeholder is nobody's key."""
        app = guard(guard(inner, keys, query_param="k"), keys, query_param="k")

        assert (await serve(app, http(query_string=b"k=" + GOOD))).status == 200
        assert (await serve(app, http(query_string=b"k=REDACTED"))).status == 401


# --- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [(RateLimited(2.2), 429, b"3"), (StoreUnavailable(), 503, b"1"), (Overloaded(retry_after=9), 503, b"9")],
    ids=["rate limited", "store unavailable", "overloaded"],
)
async def test_try_again_later(keys, inner, error, status, retry) -> None:
    """429 and 503 say when."""
    keys.rejected[b"bad"] = error
    reply = await serve(guard(inner, keys), http(key(b"bad")))

    assert reply.status == status
    assert reply.header(b"retry-after") == [retry]


async def test_the_hook_is_told_the_error(keys, inner) -> None:
    """The very one, with its evidence."""
    told = []

    def words(error: APIKeyError):
        told.append(error)
        raise OSError

    app = guard(inner, keys, on_refusal=words, scopes=["orders:read"])
    reply = await serve(app, http(key(OTHER)))

    assert reply.status == 403
    assert isinstance(told[0], MissingScope)
    assert told[0].required == {"orders:read"}


# --- anything at all ---------------------------------------------------------------------------------------------

names = st.sampled_from([b"x-api-key", b"X-Api-Key", b"authorization", b"Authorization", b"cookie", b"x"]) | st.binary()
fragments = st.sampled_from(
    [GOOD, b"Bearer ", b"bearer", b"k=", b"; ", b"&", b"%", b"%6b=", b" ", b"\t", b",", b"\x00"]
)
values = st.binary(max_size=20) | st.lists(fragments | st.binary(max_size=3), max_size=6).map(b"".join)


@given(lines=st.lists(st.tuples(names, values), max_size=5), query=values, options=st.integers(0, 31))
def test_no_list_of_headers_is_a_500_or_lets_anybody_in(lines, query, options) -> None:
    """Whatever is sent, the answer is one of ours, and whoever gets in carries a good key."""
    inner, keys = Inner(), FakeKeys()
    flags = [bool(options >> bit & 1) for bit in range(5)]
    app = guard(
        inner,
        keys,
        header="X-API-Key" if flags[0] or not any(flags[1:4]) else None,
        bearer=flags[1],
        cookie="k" if flags[2] else None,
        query_param="k" if flags[3] else None,
        strip=flags[4],
    )
    reply = serve_now(app, http(*lines, query_string=query))

    assert reply.status in {200, 400, 401}
    assert inner.seen == ([ALICE] if reply.status == 200 else [])
    assert reply.status != 200 or GOOD in b"".join(value for _, value in lines) + query
