"""A key among the subprotocols: found strictly, taken out, and never chosen."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.subprotocol import credentials_in, without_ours
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.asgi.websockets import WebSockets
from tests.asgi.driver import ALICE, COLD, GOOD, FakeKeys, Inner, Reply, http, key, serve, websocket

pytestmark = pytest.mark.anyio

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1)


def offering(*names: str, **parts: object) -> Scope:
    """A handshake that offers these subprotocols, as servers make it."""
    line = ", ".join(names).encode()
    return websocket((b"sec-websocket-protocol", line), subprotocols=list(names), **parts)


def encoded(presented: bytes) -> str:
    """A key in base64url."""
    return "base64url.apikey." + urlsafe_b64encode(presented).rstrip(b"=").decode()


def plain(presented: bytes) -> str:
    """A key as it is."""
    return "apikey." + presented.decode()


def guard(inner: Inner, keys: FakeKeys, **options: object) -> APIKeyMiddleware:
    """An application whose WebSockets may present keys so."""
    return APIKeyMiddleware(inner, keys=keys, websockets=WebSockets(subprotocol=True), **options)  # type: ignore[arg-type]


def chosen(reply: Reply) -> str | None:
    """The subprotocol that the client is told."""
    [accept] = [each for each in reply.messages if each["type"] == "websocket.accept"]
    name: str | None = accept.get("subprotocol")
    return name


@pytest.mark.parametrize("write", [plain, encoded])
@pytest.mark.parametrize("presented", [GOOD, COLD])
async def test_a_key_among_the_subprotocols_is_a_credential(keys, inner, write, presented) -> None:
    """In either form, remembered or not."""
    await serve(guard(inner, keys), offering("chat", write(presented)))

    assert inner.calls == 1
    assert inner.seen[0] is not None


async def test_the_application_never_sees_it(keys, inner) -> None:
    """Neither in the list nor in the headers, also without `strip`; what else was offered stays."""
    await serve(guard(inner, keys), offering("chat", plain(GOOD), "apikey", "v2.chat"))

    [scope] = inner.scopes
    assert scope["subprotocols"] == ["chat", "v2.chat"]
    assert dict(scope["headers"])[b"sec-websocket-protocol"] == b"chat, v2.chat"
    assert GOOD.decode() not in repr(scope)


async def test_a_line_with_nothing_else_is_gone(keys, inner) -> None:
    """Not left behind empty."""
    await serve(guard(inner, keys), offering(plain(GOOD)))

    assert b"sec-websocket-protocol" not in dict(inner.scopes[0]["headers"])


@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (["chat", plain(GOOD)], "chat"),
        ([plain(GOOD), "chat", "v2.chat"], "chat"),
        (["chat", "apikey", plain(GOOD)], "apikey"),
        ([encoded(GOOD), "apikey"], "apikey"),
        ([plain(GOOD)], None),
    ],
    ids=repr,
)
async def test_a_harmless_name_is_chosen_where_the_application_chooses_none(keys, inner, offered, told) -> None:
    """Browsers insist on one; the key is never told, for response headers get logged."""
    reply = await serve(guard(inner, keys), offering(*offered))

    assert chosen(reply) == told


async def test_the_choice_is_the_applications(keys) -> None:
    """If it chooses one."""

    async def chooses(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][1]})

    reply = await serve(
        APIKeyMiddleware(chooses, keys=keys, websockets=WebSockets(subprotocol=True)),
        offering("chat", "v2.chat", plain(GOOD)),
    )

    assert chosen(reply) == "v2.chat"


async def test_without_a_key_among_them_nothing_is_chosen_for_the_application(keys, inner) -> None:
    """Its own subprotocols are its own business."""
    scope = offering("chat")
    scope["headers"].append(key())
    reply = await serve(guard(inner, keys), scope)

    assert chosen(reply) is None


@pytest.mark.parametrize(
    "scope",
    [
        offering(plain(GOOD), plain(GOOD)),
        offering(plain(GOOD), encoded(GOOD)),
        websocket(
            (b"sec-websocket-protocol", b"apikey.one"),
            (b"Sec-WebSocket-Protocol", b"apikey.two"),
            subprotocols=["apikey.one", "apikey.two"],
        ),
        websocket(key(), (b"sec-websocket-protocol", b"apikey.one"), subprotocols=["apikey.one"]),
    ],
    ids=["twice", "two forms", "two lines", "beside the header"],
)
async def test_it_counts_as_one_place(keys, inner, scope) -> None:
    """Two credentials are one too many, equal ones too."""
    reply = await serve(guard(inner, keys), dict(scope))

    assert (reply.status, inner.calls) == (400, 0)


@pytest.mark.parametrize(
    "name", ["apikey.", "base64url.apikey.", "base64url.apikey.a", "base64url.apikey.YQ==", "base64url.apikey.YR"]
)
async def test_what_cannot_be_decoded_is_a_rejected_key(keys, inner, name) -> None:
    """Not no key: a place that carries something unreadable is not empty."""
    reply = await serve(guard(inner, keys, required=False), offering("chat", name))

    assert (reply.status, inner.calls) == (401, 0)


async def test_a_place_that_is_not_enabled_does_not_exist(keys, inner) -> None:
    """By default subprotocols are the application's alone."""
    await serve(APIKeyMiddleware(inner, keys=keys, required=False), offering("chat", plain(GOOD)))

    assert inner.seen == [None]
    assert inner.scopes[0]["subprotocols"] == ["chat", plain(GOOD)]


async def test_requests_have_no_subprotocols(keys, inner) -> None:
    """The header of a request that is none for a WebSocket is no credential."""
    reply = await serve(guard(inner, keys), http((b"sec-websocket-protocol", plain(GOOD).encode())))

    assert reply.status == 401


async def test_a_layer_further_in_takes_over_the_verdict(keys, inner) -> None:
    """Though it does not see the key any more."""
    await serve(guard(guard(inner, keys), keys), offering("chat", plain(GOOD)))

    assert inner.seen == [ALICE]


async def test_the_list_is_what_counts(keys, inner) -> None:
    """Wsproto takes the header away; and what is in a header alone is removed, and not believed."""
    await serve(guard(inner, keys), websocket(subprotocols=["chat", plain(GOOD)]))
    line = (b"sec-websocket-protocol", f"chat, {plain(GOOD)}".encode())
    await serve(guard(inner, keys, required=False), websocket(line, subprotocols=["chat"]))

    assert inner.seen == [ALICE, None]
    assert [each["subprotocols"] for each in inner.scopes] == [["chat"], ["chat"]]
    assert plain(GOOD) not in repr(inner.scopes)


@given(st.lists(TOKEN), st.binary(min_size=1), st.integers(0, 5))
def test_every_key_has_one_encoded_form(names: list[str], presented: bytes, place: int) -> None:
    """Found wherever it stands, and gone from the header afterwards."""
    names = [name for name in names if not name.startswith(("apikey", "base64url.apikey"))]
    offered = [*names[:place], encoded(presented), *names[place:]]
    left = without_ours([(b"Sec-WebSocket-Protocol", ",".join(offered).encode()), (b"host", b"h")])

    assert credentials_in(offered) == [presented]
    assert dict(left).get(b"Sec-WebSocket-Protocol", b"") == ", ".join(names).encode()
    assert left[-1] == (b"host", b"h")


@pytest.mark.parametrize("name", ["YR", "YQ==", "YQ=", "Y", "Y Q", "+w", "/w", "\u00e9"])
def test_no_key_has_another_form(name: str) -> None:
    """Bits that nobody reads, padding and the other alphabet are refused, not skipped."""
    assert credentials_in([f"base64url.apikey.{name}"]) == [b""]


@given(st.lists(st.text()))
def test_any_offer_is_read(offered: list[str]) -> None:
    """Whatever a server has taken for a name; a lone surrogate would be one that no header can have."""
    offered = [each for each in offered if each.isprintable()]

    assert all(isinstance(each, bytes) for each in credentials_in(offered))


@given(st.binary())
def test_any_line_is_cleaned(line: bytes) -> None:
    """And nothing that is left is for us."""
    [*left] = without_ours([(b"sec-websocket-protocol", line)])

    assert not [
        name for _, rest in left for name in rest.split(b", ") if name.startswith((b"apikey.", b"base64url.apikey."))
    ]
