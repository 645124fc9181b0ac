"""Applications below a prefix, beside the guarded one."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.asgi.options import MiddlewareOptions
from asgi_apikey.asgi.switch import Switch
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError
from tests.asgi.driver import Reply, http, serve, serve_now, websocket

pytestmark = pytest.mark.anyio


class Place:
    """Remembers what reached it."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200."""
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Root path and path of each request."""
        return [(each["root_path"], each["path"]) for each in self.scopes]


def at(path: str, **parts: object) -> Scope:
    """A request as uvicorn makes it."""
    return http(path=path, **({"raw_path": path.encode()} | parts))


async def reached(path: str, **parts: object) -> str:
    """Who gets a request for this path: `main`, or the prefix."""
    main, mounted = Place(), Place()
    await serve(Switch(main, {"/api-keys": mounted}), at(path, **parts))
    return "main" if main.scopes else "mounted"


@pytest.mark.parametrize("path", ["/api-keys", "/api-keys/", "/api-keys/x", "/api-keys/x/rotate", "/api-keys/a b"])
async def test_what_is_below_the_prefix_is_mounted(path: str) -> None:
    """The prefix itself too, with and without a slash."""
    assert await reached(path, raw_path=path.replace(" ", "%20").encode()) == "mounted"


@pytest.mark.parametrize(
    "path",
    ["/", "/orders", "/api-keysx", "/api-key", "/API-KEYS", "/api", "/x/api-keys", "/api-keys.", "/api-keys:x", ""],
)
async def test_what_is_not_is_not(path: str) -> None:
    """Whole segments, and upper and lower case are two."""
    assert await reached(path) == "main"


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("//api-keys", b"//api-keys"),
        ("/api-keys//x", b"/api-keys//x"),
        ("/api-keys/../orders", b"/api-keys/../orders"),
        ("/x/../api-keys", b"/x/../api-keys"),
        ("/./api-keys", b"/./api-keys"),
        ("/api-keys", b"/%61pi-keys"),
        ("/api-keys/x", b"/api-keys%2Fx"),
        ("/api-keys/x/rotate", b"/api-keys/x%2frotate"),
        ("/api-keys/..", b"/api-keys/%2e%2e"),
        ("/api-keys\\x", b"/api-keys\\x"),
        ("/api-keys/x;y", b"/api-keys/x;y"),
        ("/api-keys/%2e", b"/api-keys/%252e"),
        ("/api-keys/\x00", b"/api-keys/%00"),
        ("/api-keys/\ufffd", b"/api-keys/%ff"),
    ],
)
async def test_an_odd_spelling_is_the_main_applications(path: str, raw_path: bytes) -> None:
    """Which is guarded: so what a proxy refuses by its path is not reached by another."""
    assert await reached(path, raw_path=raw_path) == "main"


@given(st.text(alphabet="/apikeys-.%;\\ x", max_size=20))
def test_only_one_spelling_ever_reaches_the_mount(tail: str) -> None:
    """Whatever follows, it is the prefix and plain segments."""
    main, mounted = Place(), Place()

    serve_now(Switch(main, {"/api-keys": mounted}), at("/" + tail))

    segments = ("/" + tail).split("/")[1:]
    assert len(main.scopes) + len(mounted.scopes) == 1
    if mounted.scopes:
        assert segments[0] == "api-keys"
        assert not {"", ".", ".."} & set(segments[:-1])
        assert not set("%;\\") & set(tail)


@pytest.mark.parametrize(
    ("root_path", "path", "told"),
    [
        ("", "/api-keys/x", ("/api-keys", "/api-keys/x")),
        ("", "/api-keys", ("/api-keys", "/api-keys/")),
        ("/v1", "/v1/api-keys/x", ("/v1/api-keys", "/v1/api-keys/x")),
        ("/v1", "/v1/api-keys", ("/v1/api-keys", "/v1/api-keys/")),
        ("/v1/", "/v1/api-keys/x", ("/v1/api-keys", "/v1/api-keys/x")),
        ("/v1", "/api-keys/x", ("/v1/api-keys", "/v1/api-keys/x")),
        ("/api", "/api-keys/x", ("/api/api-keys", "/api/api-keys/x")),
    ],
)
async def test_the_mounted_application_is_told_where_it_is(root_path: str, path: str, told: tuple[str, str]) -> None:
    """As ASGI has it: the root path grows, the path is whole, also where a server leaves the root path out of it."""
    mounted = Place()

    await serve(Switch(Place(), {"/api-keys": mounted}), at(path, root_path=root_path))

    assert mounted.seen == [told]


@pytest.mark.parametrize(
    ("root_path", "path"), [("/v1", "/v1"), ("/v1", "/v1/"), ("/api-keys", "/api-keys"), ("/x", "/")]
)
async def test_a_root_path_is_no_prefix(root_path: str, path: str) -> None:
    """What the server has mounted all of us at is not ours to route."""
    assert await reached(path, root_path=root_path) == "main"


async def test_the_main_applications_request_is_left_as_it_is() -> None:
    """The very scope, and the mounted one gets its own copy."""
    main, mounted = Place(), Place()
    switch = Switch(main, {"/api-keys": mounted})
    ours, theirs = at("/orders"), at("/api-keys/x")

    await serve(switch, ours)
    await serve(switch, theirs)

    assert main.scopes == [ours]
    assert main.scopes[0] is ours
    assert theirs["root_path"] == ""
    assert mounted.scopes[0]["state"] is theirs["state"]


async def test_the_longer_prefix_wins() -> None:
    """In whichever order they were given."""
    outer, inner = Place(), Place()
    switch = Switch(Place(), {"/api": outer, "/api/keys": inner})

    for path in ("/api/keys/x", "/api/keysx", "/api/x"):
        await serve(switch, at(path))

    assert inner.seen == [("/api/keys", "/api/keys/x")]
    assert [path for _, path in outer.seen] == ["/api/keysx", "/api/x"]


async def test_a_websocket_below_the_prefix_is_refused() -> None:
    """Before the handshake is accepted; others are the main application's."""
    main, mounted = Place(), Place()
    switch = Switch(main, {"/api-keys": mounted})

    refused = await serve(switch, websocket(path="/api-keys/x", raw_path=b"/api-keys/x"))
    await serve(switch, websocket(path="/chat", raw_path=b"/chat"))

    assert [each["type"] for each in refused.messages] == ["websocket.close"]
    assert mounted.scopes == []
    assert [each["path"] for each in main.scopes] == ["/chat"]


async def test_whatever_else_the_server_has_is_the_main_applications() -> None:
    """Lifespans above all."""
    main, mounted = Place(), Place()

    await serve(Switch(main, {"/api-keys": mounted}), {"type": "lifespan", "state": {}})

    assert [each["type"] for each in main.scopes] == ["lifespan"]
    assert mounted.scopes == []


async def test_starlette_routes_below_the_prefix_as_if_it_stood_alone() -> None:
    """Its own mounts and root too, without a redirect."""

    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.path_params.get('key_id', 'root')} {request.url.path}")

    inner = Starlette(
        routes=[Route("/", show), Mount("/sub", routes=[Route("/{key_id}", show)]), Route("/{key_id}", show)]
    )
    switch = Switch(Place(), {"/api-keys": inner})

    assert (await serve(switch, at("/api-keys"))).body == b"root /api-keys/"
    assert (await serve(switch, at("/api-keys/"))).body == b"root /api-keys/"
    assert (await serve(switch, at("/api-keys/k1"))).body == b"k1 /api-keys/k1"
    assert (await serve(switch, at("/api-keys/sub/k1"))).body == b"k1 /api-keys/sub/k1"
    assert (await serve(switch, at("/v1/api-keys/k1", root_path="/v1"))).body == b"k1 /v1/api-keys/k1"


@pytest.mark.parametrize("prefix", ["", "/", "api-keys", "/api-keys/", "/a//b", "/a/../b", "/a%20b", "/a/*", "/a;b", 7])
def test_a_prefix_that_could_never_match_is_refused(prefix: object) -> None:
    """Or that would take everything."""
    with pytest.raises(ConfigurationError, match="prefix"):
        Switch(Place(), {prefix: Place()})  # type: ignore[dict-item]


def test_what_is_no_application_is_refused() -> None:
    """Main or mounted; and a switch with nothing to switch to."""
    for app, mount in (
        (Place(), {}),
        (Place(), [("/x", Place())]),
        (Place(), None),
        (Place(), {"/x": None}),
        (None, {"/x": Place()}),
    ):
        with pytest.raises(ConfigurationError):
            Switch(app, mount)  # type: ignore[arg-type]


# ---- `keys.protect` ----


def test_the_options_that_are_passed_on_are_those_of_the_middleware() -> None:
    """All of them, and no others."""
    parameters = set(inspect.signature(APIKeyMiddleware.__init__).parameters) - {"self", "app", "keys"}

    assert set(MiddlewareOptions.__annotations__) == parameters


async def test_protect_guards_the_application_and_leaves_what_is_mounted_to_itself() -> None:
    """What is mounted is not behind the middleware."""
    main, mounted = Place(), Place()
    keys = APIKeys("memory:", pepper=None)
    issued = await keys.issue(owner="acme")
    app = keys.protect(main, mount={"/api-keys": mounted}, header="X-Key")

    statuses = [
        (await serve(app, scope)).status
        for scope in (at("/orders"), at("//api-keys"), at("/api-keys/x"), http((b"x-key", issued.key.encode())))
    ]

    assert statuses == [401, 401, 200, 200]
    assert mounted.scopes[0]["path"] == "/api-keys/x"
    assert len(main.scopes) == 1


async def test_protect_without_mounts_is_the_middleware() -> None:
    """With its options."""
    app = APIKeys("memory:", pepper=None).protect(Place(), required=False)

    reply: Reply = await serve(app, at("/orders"))

    assert isinstance(app, APIKeyMiddleware)
    assert reply.status == 200
