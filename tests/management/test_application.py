"""The API as an application: routing, bounds, who may, what goes wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey import APIKeys
from asgi_apikey.asgi.types import Message, Scope
from asgi_apikey.errors import APIKeyError, ConfigurationError, Overloaded, RateLimited, StoreUnavailable, Undecidable
from asgi_apikey.management import Action, Caller, KeyAuthoriser, Management
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.models import Actor
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.memory import MemoryRepository
from tests.fakes import FakeClock, Watched
from tests.management.desk import ANYTHING, Desk, by_header, client_of, memory_keys, problem
from tests.wiring import PEPPER

pytestmark = pytest.mark.anyio

MALFORMED = [
    b"{",
    b"[",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"{}}",
    b"{'a': 1}",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf{}",
    b"\x00",
    b'{"name": NaN}',
    b'{"name": "\\ud800", "owner": "o"}',
    b'{"name": "\xff", "owner": "o"}',
    b'{"name": "a\\u0000", "owner": "o"}',
    b'{"name": "a", "owner": "o", "metadata": ' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}",
    b'{"name": "a", "owner": "o", "metadata": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    b'{"name": "a", "owner": "o", "metadata": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}",
    b'{"name": "a", "owner": "o", "metadata": {"a": 1e999}}',
    b'{"name": "a", "owner": "o", "metadata": {"a": "\\u0000"}}',
    b'{"name": "a", "owner": "o", "expires_in": 1e308}',
    b'{"name": "a", "owner": "o", "expires_in": ' + b"9" * 400 + b"}",
    b'{"name": "a", "owner": "o", "expires_at": "9999-12-31T23:59:59.9999999Z"}',
    b'{"name": "a", "owner": "o", "scopes": {}}',
    b'{"name": "a", "owner": "o", "where": {}}',
    b"[" * 60_000,
    b'"' + b"a" * 60_000,
    b"1" * 60_000,
]


def path_of(operation: Operation) -> str:
    """A path that the operation has."""
    return operation.path.replace("{key_id}", "AAAAAAAAAAAA")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_nobody_does_anything_without_a_credential(quick: Desk, operation: Operation) -> None:
    """But ask whether the service is up. Nothing of the request is looked at before."""
    answer = await quick.http.request(operation.method, f"{path_of(operation)}?x=1", content=b"{")

    if operation.public:
        assert problem(answer) == (422, "invalid_request")
    else:
        assert problem(answer) == (401, "missing_credential")
        assert answer.headers.get_list("www-authenticate") == ['ApiKey realm="API keys"', 'Bearer realm="API keys"']


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
@pytest.mark.parametrize("action", Action)
async def test_each_verb_needs_its_action(operation: Operation, action: Action, anyio_backend: str) -> None:
    """And nothing else: whoever may only read changes nothing."""

    async def authorise(scope: Scope) -> Caller:
        return Caller(actor=Actor("x"), grant=ANYTHING, actions=frozenset({action}))

    async with client_of(memory_keys().management(authorise)) as client:
        answer = await client.request(operation.method, path_of(operation))

    refused = operation.action not in (None, action) and not operation.public
    assert (answer.status_code == 403) is refused, answer.text
    if refused:
        assert problem(answer) == (403, "missing_scope")
        assert operation.action is not None
        assert f'scope="{operation.action.scope}"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_every_answer_has_the_headers_of_an_answer(quick: Desk, operation: Operation) -> None:
    """Nothing is stored, not even an error; the kind is told."""
    answer = await quick.ask(operation.method, path_of(operation))

    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] in ("application/json", "application/problem+json")
    assert answer.headers["content-length"] == str(len(answer.content))
    declared = {*operation.answers} | {int(status) for status in _statuses(operation)}
    assert answer.status_code in declared


def _statuses(operation: Operation) -> set[int]:
    from asgi_apikey.asgi.problems import TABLE

    return {TABLE[each].status for each in operation.errors}


async def test_an_unknown_path_is_not_found(quick: Desk) -> None:
    """As a problem, whoever asks; a trailing slash is another path."""
    for path in ("/a/b", "/me/", "/a/rotate/", "/a/b/c", "/%2F/%2F"):
        for method in ("GET", "POST", "DELETE"):
            answer = await quick.ask(method, path)
            assert problem(answer)[0] in (404, 405), (method, path)
    assert problem(await quick.http.get("/a/b")) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS, POST"),
        ("/search", "OPTIONS, POST"),
        ("/revoke", "OPTIONS, POST"),
        ("/me", "GET, HEAD, OPTIONS"),
        ("/AAAAAAAAAAAA", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/AAAAAAAAAAAA/rotate", "OPTIONS, POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(quick: Desk, path: str, allowed: str) -> None:
    """RFC 9110: 405 with `Allow`; `OPTIONS` asks for just that."""
    wrong = await quick.ask("PUT", path)
    options = await quick.ask("OPTIONS", path)

    assert problem(wrong) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == options.headers["allow"] == allowed
    assert (options.status_code, options.content) == (204, b"")


async def test_head_is_get_without_a_body(quick: Desk) -> None:
    """With its headers."""
    key_id = await quick.made()

    for path in ("/", "/me", "/health", f"/{key_id}", "/a/b", "/absent"):
        got, head = await quick.ask("GET", path), await quick.ask("HEAD", path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers == got.headers


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:40]))
@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.method != "GET"], ids=lambda each: each.name)
async def test_a_body_that_is_none_is_refused(quick: Desk, operation: Operation, body: bytes) -> None:
    """In whatever way: never an answer of 500, nor of 503, and nothing is made."""
    answer = await quick.ask(
        operation.method, path_of(operation), content=body, headers={"content-type": "application/json"}
    )

    assert problem(answer) == (422, "invalid_request")
    assert (await quick.ask("POST", "/count", {})).json() == {"count": 0}


async def test_a_deep_body_does_no_harm_under_an_idempotency_key(quick: Desk) -> None:
    """What can be read may be too deep to be written."""
    for depth in (31, 33, 200, 500, 900):
        body = b'{"name":"a","owner":"o","metadata":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        headers = {"content-type": "application/json", "idempotency-key": "k"}
        answer = await quick.ask("POST", "/", content=body, headers=headers)
        assert answer.status_code == (201 if depth == 31 else 422), depth


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json", "text/json"],
)
async def test_a_body_of_another_kind_is_refused(quick: Desk, kind: str) -> None:
    """A form of a foreign page has such a kind, and sends it even without a body."""
    for content in (b'{"name":"a","owner":"o"}', b""):
        answer = await quick.ask("POST", "/", content=content, headers={"content-type": kind})
        assert problem(answer) == (415, "unsupported_media_type")
    assert (await quick.ask("POST", "/count", {})).json() == {"count": 0}


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json", "application/json;x=y"],
)
async def test_json_has_many_names(quick: Desk, kind: str) -> None:
    """All of them are JSON."""
    answer = await quick.ask("POST", "/", content=b'{"name":"a","owner":"o"}', headers={"content-type": kind})

    assert answer.status_code == 201


async def test_a_body_has_a_bound(anyio_backend: str) -> None:
    """No more than that is read, however it comes."""
    pulled = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield b" " * 1_000

    async with client_of(memory_keys().management(by_header, max_body=10_000)) as client:
        headers = {"x-caller": "root", "content-type": "application/json"}
        told = await client.post("/count", content=b" " * 9_998 + b"{}", headers=headers)
        large = await client.post("/count", content=b" " * 9_999 + b"{}", headers=headers)
        stream = await client.post("/count", content=endless(), headers=headers)

    assert told.status_code == 200
    assert problem(large) == problem(stream) == (413, "body_too_large")
    assert stream.json()["most"] == 10_000
    assert pulled < 20


async def test_a_client_that_goes_away_is_not_answered(anyio_backend: str) -> None:
    """In the middle of its body; nothing is done."""
    sent: list[Message] = []
    events: list[Message] = [
        {"type": "http.request", "body": b'{"name":', "more_body": True},
        {"type": "http.disconnect"},
    ]
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"", "root_path": "",
        "headers": [(b"x-caller", b"root"), (b"content-type", b"application/json")],
    }  # fmt: skip

    async def receive() -> Message:
        return events.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await memory_keys().management(by_header)(scope, receive, send)

    assert sent == []


async def test_who_is_revoked_while_his_body_is_on_its_way_does_nothing(anyio_backend: str) -> None:
    """A request that was begun in time must not be finished, hours later, in the name of a key that has ended."""
    clock, keys = FakeClock(), memory_keys()
    thief = await keys.issue(owner="acme", scopes={"apikeys:write", "orders:*"})

    async def dribbling() -> AsyncIterator[bytes]:
        yield b'{"name": "back door"'
        receipt = await keys.revoke(thief.record.key_id)
        assert receipt.confirmed
        clock.advance(1)
        yield b"}"

    headers = {"x-api-key": thief.key, "content-type": "application/json"}
    async with client_of(keys.management(KeyAuthoriser(keys), clock=clock)) as client:
        answer = await client.post("/", content=dribbling(), headers=headers)

    assert problem(answer) == (401, "invalid_key")
    assert await keys.count(owner="acme", revoked=False) == 0


async def test_who_has_sent_his_body_at_once_is_asked_for_once(anyio_backend: str) -> None:
    """And with a body that took its time, once more, also whether he still may."""
    clock, asked = FakeClock(), 0

    async def authorise(scope: Scope) -> Caller:
        nonlocal asked
        asked += 1
        return Caller(actor=Actor("x"), grant=ANYTHING, actions=frozenset({Action.READ} if asked < 3 else ()))

    async def late() -> AsyncIterator[bytes]:
        clock.advance(1)
        yield b"{}"

    headers = {"content-type": "application/json"}
    async with client_of(memory_keys().management(authorise, clock=clock)) as client:
        soon = await client.post("/count", content=b"{}", headers=headers)
        once = asked
        slow = await client.post("/count", content=late(), headers=headers)

    assert (soon.status_code, once) == (200, 1)
    assert (problem(slow), asked) == ((403, "missing_scope"), 3)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (StoreUnavailable("secret words", retry_after=7), (503, "store_unavailable")),
        (Overloaded(retry_after=7), (503, "overloaded")),
        (RateLimited(7), (429, "rate_limited")),
        (Undecidable("secret words", retry_after=7), (503, "undecidable")),
        (APIKeyError("secret words"), (503, "undecidable")),
        (ConfigurationError("secret words"), (503, "undecidable")),
        (ValueError("secret words"), (503, "undecidable")),
        (RecursionError("secret words"), (503, "undecidable")),
    ],
    ids=repr,
)
async def test_what_cannot_be_told_is_503(
    error: Exception, wanted: tuple[int, str], caplog: Any, anyio_backend: str
) -> None:
    """From an authoriser and from a verb alike: never 500, never yes; and never the words of an error."""

    async def authorise(scope: Scope) -> Caller:
        if b"fail" in scope["query_string"]:
            raise error
        return Caller(actor=Actor("x"), actions=frozenset(Action))

    store = Watched(MemoryRepository())
    store.failures["get"] = error
    keys = APIKeys(repository=cast(KeyRepository, store), pepper=PEPPER, single_process=True)
    caplog.set_level(logging.DEBUG)
    async with client_of(keys.management(authorise)) as client:
        refused, failed = await client.get("/?fail"), await client.get("/AAAAAAAAAAAA")

    assert problem(refused) == problem(failed) == wanted
    if isinstance(error, (RateLimited, Undecidable)):
        assert refused.headers["retry-after"] == failed.headers["retry-after"] == "7"
    assert "secret words" not in refused.text + failed.text + caplog.text
    if not isinstance(error, (RateLimited, Undecidable)):
        assert type(error).__name__ in caplog.text


async def test_an_unknown_outcome_is_told(anyio_backend: str) -> None:
    """Whoever asked for a change has to look before asking again."""
    store = Watched(MemoryRepository())
    store.failures["add"] = StoreUnavailable(outcome_unknown=True, retry_after=3)
    keys = APIKeys(repository=cast(KeyRepository, store), pepper=PEPPER, single_process=True)

    async with client_of(keys.management(by_header)) as client:
        answer = await Desk(keys, client).ask("POST", "/", {"name": "a", "owner": "o"})

    assert problem(answer) == (503, "store_unavailable")
    assert answer.json()["outcome_unknown"] is True
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("who", [None, "everybody", object(), Caller(actor=Actor()), lambda scope: None])
async def test_it_cannot_be_built_without_somebody_who_says_who_may(who: Any) -> None:
    """An open management API is no mistake that can be made."""
    with pytest.raises(ConfigurationError, match="authorise="):
        memory_keys().management(who)
    with pytest.raises(TypeError):
        memory_keys().management()  # type: ignore[call-arg]


@pytest.mark.parametrize("most", [0, -1, True])
def test_a_bound_of_bodies_is_a_number(most: int) -> None:
    """Of bytes, at least one."""
    with pytest.raises(ConfigurationError, match="max_body"):
        memory_keys().management(by_header, max_body=most)


async def test_served_alone_its_lifespan_opens_and_closes_the_keys(anyio_backend: str) -> None:
    """Mounted, that is for the lifespan of the main application."""
    calls: list[str] = []
    keys = memory_keys()
    app = Management(keys, by_header)
    events: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return events.pop(0)

    async def send(message: Message) -> None:
        calls.append(message["type"])

    async def opened() -> None:
        calls.append("open")

    async def closed() -> None:
        calls.append("close")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(APIKeys, "open", lambda self: opened())
        patch.setattr(APIKeys, "close", lambda self: closed())
        await app({"type": "lifespan", "state": {}}, receive, send)

    assert calls == ["open", "lifespan.startup.complete", "close", "lifespan.shutdown.complete"]


async def test_a_websocket_is_closed(anyio_backend: str) -> None:
    """There is none here."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    for path in ("/", "/me", "/nowhere"):
        await memory_keys().management(by_header)(
            {"type": "websocket", "path": path, "root_path": "", "headers": [], "query_string": b""}, receive, send
        )

    assert [message["type"] for message in sent] == ["websocket.close"] * 3


@given(st.binary(max_size=60), st.sampled_from([each for each in OPERATIONS if each.method != "GET"]))
def test_no_body_at_all_makes_it_fail(body: bytes, operation: Operation) -> None:
    """Of any bytes: what is not understood is refused."""
    import anyio

    async def answered() -> int:
        async with client_of(memory_keys().management(by_header)) as client:
            answer = await client.request(
                operation.method,
                path_of(operation),
                content=body,
                headers={"x-caller": "root", "content-type": "application/json"},
            )
            return answer.status_code

    assert anyio.run(answered) in (404, 422) if body else True


@given(st.binary(max_size=60), st.sampled_from([each for each in OPERATIONS if each.method == "GET"]))
def test_no_query_at_all_makes_it_fail(query: bytes, operation: Operation) -> None:
    """Of any bytes, spelled as a server passes them on."""
    import anyio

    statuses: list[int] = []
    scope = {
        "type": "http", "method": "GET", "path": path_of(operation), "query_string": query, "root_path": "",
        "headers": [(b"x-caller", b"root")],
    }  # fmt: skip

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        if "status" in message:
            statuses.append(message["status"])

    anyio.run(memory_keys().management(by_header), scope, receive, send)

    assert statuses[0] in (200, 404, 422)


async def test_odd_ids_are_not_found(quick: Desk) -> None:
    """Whatever stands in the place of an id, a whole key included; it is not repeated."""
    key = (await quick.make())["key"]
    for odd in ("%00", "%ff", "a" * 3_000, "%C3%A9", "'", "%25", "..%2f", key[:30], "\U0001f511"):
        for method in ("GET", "DELETE", "PATCH"):
            answer = await quick.ask(method, f"/{odd}", {} if method == "PATCH" else None)
            assert problem(answer)[0] == 404, (method, odd)


@pytest.mark.parametrize("lost", [0, 3, 6])
async def test_a_whole_key_is_refused_where_it_does_not_belong(desk: Desk, lost: int) -> None:
    """In a path, a parameter or a body: stores write what they are asked into logs. An id in its place is found."""
    made = await desk.make()
    key = made["key"][: len(made["key"]) - lost]
    escaped = key.replace("_", "%5F")

    for method, path, body in (
        ("GET", f"/{key}", None),
        ("GET", f"/{escaped}", None),
        ("GET", f"/?owner={key}", None),
        ("GET", f"/?owner={escaped}", None),
        ("POST", f"/{key}/revoke", None),
        ("POST", "/", {"name": key, "owner": "o"}),
        ("POST", "/", {"name": "a", "owner": "o", "metadata": {"key": f"Bearer {key}"}}),
        ("POST", "/search", {"where": {"name": key}}),
    ):
        answer = await desk.ask(method, path, body)
        assert problem(answer) == (422, "invalid_request"), (method, path)
        assert "by its id" in answer.json()["detail"]
        assert key not in answer.text
    assert (await desk.ask("POST", "/count", {"where": {"revoked": False}})).json() == {"count": 1}


async def test_no_secret_goes_anywhere_but_into_one_answer(desk: Desk, caplog: Any) -> None:
    """Not into another answer, an error or a log at any level: through every verb, right and wrong."""
    caplog.set_level(logging.DEBUG)
    # The client's own log is not ours.
    caplog.set_level(logging.WARNING, "httpx")
    made = await desk.make(scopes=["a"])
    key, key_id = made["key"], made["record"]["key_id"]
    windows = {key[at : at + 12] for at in range(len("ak_live_") + 13, len(key) - 11)}
    texts: list[str] = []

    for operation in OPERATIONS:
        for path in (operation.path.replace("{key_id}", key_id), operation.path.replace("{key_id}", key)):
            for body in (None, {"key": key}, {key: key}, {"name": key[:20], key[21:]: 1}, {"where": {"owner": key}}):
                for query in ("", f"?{key}=1", f"?owner={key}", f"?cursor={key}", "?wait=0"):
                    if operation.name in {"issue_key", "amend_key", "revoke_key", "revoke_keys"} and body == {
                        "name": key
                    }:
                        continue
                    answer = await desk.ask(
                        operation.method, path + query, body if operation.body else None,
                        headers={"x-request-id": key, "if-match": f'"{key}"'},
                    )  # fmt: skip
                    texts.append(answer.text + json.dumps(dict(answer.headers)))
    entries = (await desk.ask("GET", "/audit")).text

    spoken = "\n".join([*texts, entries, caplog.text])
    assert [window for window in windows if window in spoken] == []
