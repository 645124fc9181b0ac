"""Two kinds of credential: told apart by shape, each judged by one verifier alone."""

from __future__ import annotations

from collections.abc import Callable

import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.errors import ConfigurationError, InvalidToken, StoreUnavailable
from asgi_apikey.models import Principal
from tests.asgi.driver import (
    ALICE,
    COLD,
    GOOD,
    FakeKeys,
    Inner,
    Reply,
    http,
    key,
    serve,
    serve_now,
    step_through,
    websocket,
)
from tests.fakes import NOON

pytestmark = pytest.mark.anyio

TOKEN = b"aGVhZGVy.cGF5bG9hZA.c2lnbmF0dXJl"
DORA = Principal(
    key_id="jwt:dora", owner="dora", scopes=frozenset({"orders:read"}), method="jwt", expires_at=NOON + 600
)


class FakeTokens:
    """Knows one token."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.failure: Exception | None = None

    async def authenticate(self, presented: bytes) -> Principal:
        """Tell it, after letting others run."""
        self.asked.append(presented)
        await anyio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        if presented != TOKEN:
            raise InvalidToken("signature")
        return DORA


@pytest.fixture
def tokens() -> FakeTokens:
    """Dora's."""
    return FakeTokens()


@pytest.fixture
def guard(inner: Inner, keys: FakeKeys, tokens: FakeTokens) -> Callable[..., APIKeyMiddleware]:
    """The middleware with both."""
    return lambda **options: APIKeyMiddleware(inner, **({"keys": keys, "jwt": tokens, "bearer": True} | options))


def bearer(value: bytes, scheme: bytes = b"Bearer ") -> tuple[bytes, bytes]:
    """An `Authorization` line."""
    return b"authorization", scheme + value


@pytest.mark.parametrize("header", ["X-API-Key", None])
@pytest.mark.parametrize("make", [http, websocket])
async def test_a_token_reaches_the_application(guard, inner, keys, tokens, make, header) -> None:
    """As the principal; the keys are not asked."""
    reply = await serve(guard(header=header), make(bearer(TOKEN)))

    assert inner.seen == [DORA]
    assert (tokens.asked, keys.asked) == ([TOKEN], [])
    assert isinstance(reply, Reply)


@pytest.mark.parametrize("value", [GOOD, COLD], ids=["cached", "cold"])
@pytest.mark.parametrize("place", ["bearer", "header"])
async def test_a_key_goes_to_the_keys(guard, inner, tokens, value, place) -> None:
    """In either place, remembered or not."""
    await serve(guard(), http(bearer(value) if place == "bearer" else key(value)))

    assert [each.method for each in inner.seen] == ["api_key"]
    assert tokens.asked == []


def test_a_cached_key_needs_no_suspension_beside_tokens(guard, tokens) -> None:
    """The short way for keys stays what it was."""
    assert step_through(guard(header=None), http(bearer(GOOD))).status == 200
    assert tokens.asked == []


@pytest.mark.parametrize(
    ("presented", "who"),
    [
        (b"x.y.z", "tokens"),
        (b"..", "tokens"),
        (TOKEN + b"x", "tokens"),
        (b"ak_live_x.y.z", "tokens"),
        (b"x.y", "keys"),
        (b"x.y.z.q", "keys"),
        (b"a.b.c.d.e", "keys"),
        (b"ak_live_bad", "keys"),
        (b"x", "keys"),
    ],
)
async def test_a_rejected_credential_is_not_tried_elsewhere(guard, inner, keys, tokens, presented, who) -> None:
    """Exactly one of the two is asked, once, and its no is final."""
    reply = await serve(guard(), http(bearer(presented)))

    assert reply.status == 401
    assert (len(tokens.asked), len(keys.asked)) == ((1, 0) if who == "tokens" else (0, 1))
    assert inner.calls == 0


@pytest.mark.parametrize("header", ["X-API-Key", None])
async def test_a_token_the_keys_would_accept_is_still_a_token(guard, inner, keys, header) -> None:
    """The shape decides, not who might say yes."""
    keys.cached[b"x.y.z"] = keys.stored[b"x.y.z"] = ALICE
    reply = await serve(guard(header=header), http(bearer(b"x.y.z")))

    assert (reply.status, inner.calls, keys.asked, keys.told) == (401, 0, [], 0)


@pytest.mark.parametrize(
    "options", [{}, {"header": "X-API-Key", "query_param": "k", "cookie": "k"}], ids=["header", "all"]
)
@pytest.mark.parametrize("place", ["header", "query", "cookie"])
async def test_a_token_in_another_place_is_a_bad_key(guard, inner, tokens, options, place) -> None:
    """Tokens are read from `Authorization: Bearer` alone; a place that is not enabled carries nothing."""
    scopes = {
        "header": http(key(TOKEN)),
        "query": http(query_string=b"k=" + TOKEN),
        "cookie": http((b"cookie", b"k=" + TOKEN)),
    }
    reply = await serve(guard(**options), scopes[place])

    assert reply.status == 401
    assert (tokens.asked, inner.calls) == ([], 0)


@pytest.mark.parametrize(
    "lines",
    [
        (bearer(TOKEN), key(GOOD)),
        (key(GOOD), bearer(TOKEN)),
        (bearer(TOKEN), bearer(TOKEN)),
        (bearer(TOKEN), bearer(GOOD)),
        (bearer(TOKEN), (b"authorization", b"Basic eDp5")),
        (bearer(b"bad.bad.bad"), key(GOOD)),
        (bearer(b""), key(GOOD)),
    ],
)
async def test_two_credentials_are_ambiguous(guard, inner, keys, tokens, lines) -> None:
    """Of either kind: 400, and nobody is asked."""
    reply = await serve(guard(), http(*lines))

    assert reply.status == 400
    assert (tokens.asked, keys.asked, inner.calls) == ([], [], 0)


@pytest.mark.parametrize("value", [TOKEN + b" x", b" " + TOKEN, TOKEN + b"," + TOKEN, b"\t" + TOKEN])
async def test_an_untidy_bearer_value_is_no_token(guard, inner, value) -> None:
    """Exactly one space, one token, nothing else."""
    reply = await serve(guard(), http(bearer(value)))

    assert (reply.status, inner.calls) == (401, 0)


async def test_a_rejected_token_looks_like_a_rejected_key(guard) -> None:
    """The same bytes, so that nobody learns which of the two was asked, or why."""
    token_reply = await serve(guard(), http(bearer(b"x.y.z")))
    key_reply = await serve(guard(), http(bearer(b"ak_live_bad")))

    assert token_reply.messages == key_reply.messages
    assert b"signature" not in token_reply.body


async def test_a_verifier_that_cannot_tell_is_503(guard, inner, tokens) -> None:
    """Never a no, and never the keys' turn."""
    tokens.failure = StoreUnavailable(retry_after=7)
    reply = await serve(guard(), http(bearer(TOKEN)))

    assert (reply.status, reply.header(b"retry-after"), inner.calls) == (503, [b"7"], 0)


@pytest.mark.parametrize("failure", [ValueError("x"), KeyError("x"), RecursionError()])
async def test_a_fault_of_the_verifier_is_503(guard, inner, tokens, failure) -> None:
    """Whatever goes wrong, nobody gets in."""
    tokens.failure = failure
    reply = await serve(guard(), http(bearer(TOKEN)))

    assert (reply.status, inner.calls) == (503, 0)


async def test_a_verifier_that_returns_something_else_lets_nobody_in(guard, inner) -> None:
    """Claims are no principal."""

    class Careless:
        async def authenticate(self, presented: bytes) -> dict[str, str]:
            return {"sub": "dora"}

    reply = await serve(guard(jwt=Careless()), http(bearer(TOKEN)))

    assert (reply.status, inner.calls) == (503, 0)


async def test_scopes_are_asked_of_tokens_too(guard, inner) -> None:
    """403 for a good token that lacks one."""
    assert (await serve(guard(scopes=["orders:read"]), http(bearer(TOKEN)))).status == 200
    assert (await serve(guard(scopes=["orders:write"]), http(bearer(TOKEN)))).status == 403
    assert inner.calls == 1


async def test_a_bad_token_is_refused_where_none_is_required(guard, inner) -> None:
    """`required=False` lets requests without a credential through, not those with a bad one."""
    assert (await serve(guard(required=False), http(bearer(b"x.y.z")))).status == 401
    assert (await serve(guard(required=False), http())).status == 200
    assert inner.seen == [None]


async def test_a_token_can_be_stripped(guard, inner) -> None:
    """As a key is."""
    await serve(guard(strip=True), http(bearer(TOKEN), (b"accept", b"*/*")))

    assert inner.scopes[0]["headers"] == [(b"host", b"example"), (b"accept", b"*/*")]


async def test_on_refusal_learns_the_fault(guard) -> None:
    """For the log of the application."""
    errors = []

    def note(error):
        errors.append(error)
        raise RuntimeError("the standard answer will do")

    await serve(guard(on_refusal=note), http(bearer(b"x.y.z")))

    assert [error.fault for error in errors] == ["signature"]


class TestNested:
    """Layers around each other."""

    async def test_the_same_verifier_is_not_asked_twice(self, guard, inner, keys, tokens) -> None:
        """The verdict is taken over, the layer's own scopes are asked."""
        outer = guard()
        outer.app = APIKeyMiddleware(inner, keys=keys, jwt=tokens, bearer=True, scopes=["orders:read"])
        reply = await serve(outer, http(bearer(TOKEN)))

        assert (reply.status, inner.seen, len(tokens.asked)) == (200, [DORA], 1)

    @pytest.mark.parametrize("options", [{}, {"bearer": True}, {"bearer": True, "header": None}], ids=str)
    async def test_a_layer_without_tokens_takes_over_none(self, guard, inner, keys, options) -> None:
        """Whoever lets keys in there meant keys."""
        outer = guard()
        outer.app = APIKeyMiddleware(inner, keys=keys, **options)
        reply = await serve(outer, http(bearer(TOKEN)))

        assert (reply.status, inner.calls) == (401, 0)

    async def test_another_verifier_judges_anew(self, guard, inner, keys) -> None:
        """Another issuer, another principal."""
        other = FakeTokens()
        outer = guard()
        outer.app = APIKeyMiddleware(inner, keys=keys, jwt=other, bearer=True)
        other.failure = InvalidToken("issuer")
        reply = await serve(outer, http(bearer(TOKEN)))

        assert (reply.status, inner.calls, other.asked) == (401, 0, [TOKEN])

    async def test_a_key_is_taken_over_by_layers_with_and_without_tokens(self, guard, inner, keys) -> None:
        """The same keys, so the same verdict."""
        outer = guard()
        outer.app = APIKeyMiddleware(inner, keys=keys)
        assert (await serve(outer, http(key(COLD)))).status == 200
        again = APIKeyMiddleware(guard(), keys=keys)
        assert (await serve(again, http(key(COLD)))).status == 200

        assert len(keys.asked) == 2


def test_tokens_need_bearer(inner, keys, tokens) -> None:
    """Else none would ever be read."""
    with pytest.raises(ConfigurationError, match="bearer=True"):
        APIKeyMiddleware(inner, keys=keys, jwt=tokens)


@pytest.mark.parametrize("jwt", [object(), "secret", True, FakeKeys()], ids=lambda value: type(value).__name__)
def test_what_is_no_verifier_is_refused(inner, keys, jwt) -> None:
    """Keys in particular: with them as both, a token would be a key."""
    with pytest.raises(ConfigurationError, match="JWTVerifier"):
        APIKeyMiddleware(inner, keys=keys, jwt=jwt, bearer=True)


class Once:
    """Keys and tokens that reject everything, and note who was asked."""

    def __init__(self, keys: FakeKeys) -> None:
        self.keys = keys
        self.asked: list[bytes] = []

    async def authenticate(self, presented: bytes) -> Principal:
        """Reject it."""
        self.asked.append(presented)
        raise InvalidToken("signature")


@given(value=st.binary(max_size=40) | st.lists(st.binary(max_size=8), max_size=6).map(b".".join))
def test_never_both_are_asked(value: bytes) -> None:
    """Whatever stands there: at most one verifier, and only tokens' for two dots."""
    keys, inner = FakeKeys(), Inner()
    tokens = Once(keys)
    reply = serve_now(APIKeyMiddleware(inner, keys=keys, jwt=tokens, bearer=True), http(bearer(value)))

    assert reply.status in (200, 400, 401)
    assert len(tokens.asked) + len(keys.asked) <= 1
    assert all(each.count(b".") == 2 for each in tokens.asked)
    assert all(each.count(b".") != 2 for each, _ in keys.asked)
