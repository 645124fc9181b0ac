"""`Management`: the operations as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, TypedDict
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from asgi_apikey.asgi.problems import Answer, Answers, plain_answer
from asgi_apikey.asgi.types import Receive, Scope, Send
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import (
    APIKeyError,
    AuthenticationError,
    ConfigurationError,
    LifecycleError,
    MissingScope,
    Undecidable,
)
from asgi_apikey.management.authorisers import AuthoriseFunction, authoriser_of
from asgi_apikey.management.callers import Authoriser, Caller
from asgi_apikey.management.calls import Call, Reply
from asgi_apikey.management.decoding import decoded_query
from asgi_apikey.management.describing import description_routes
from asgi_apikey.management.managed import ManagedKeys
from asgi_apikey.management.operations import OPERATIONS, Operation
from asgi_apikey.management.requests import (
    body_of,
    check_no_key,
    idempotency_key_of,
    is_json,
    version_of,
    with_occasion,
)
from asgi_apikey.management.schemas import Waiting
from asgi_apikey.management.schemes import schemes_of
from asgi_apikey.models import Actor, Seconds
from asgi_apikey.protocols import Clock
from asgi_apikey.singleflight import SingleFlight
from asgi_apikey.tracebacks import described

_log = logging.getLogger("asgi_apikey")

MAX_BODY: Final = 65_536
_AT_ONCE: Final[Seconds] = 0.1
"""A body that is longer on its way was waited for, and who sends it is asked for again."""
_NOBODY: Final = Caller(actor=Actor(), owner="nobody", tenant="")
"""Who asks where nobody is asked who he is: sees nothing, may do nothing."""


class ManagementOptions(TypedDict, total=False):
    """The options of `Management`, as keyword arguments; its docstring explains them."""

    realm: str
    max_body: int
    clock: Clock


class Management:
    """The management API: an ASGI application, to be mounted beside another one or to be served alone.

    Served alone, its lifespan opens and closes the keys.

    Args:
        keys: What is managed, an `APIKeys`.
        authorise: Who may: an authoriser, or an async function from an ASGI scope to a `Caller`.
        realm: The protection space that challenges name.
        max_body: Bytes of a body that are read.
        clock: Tells when, for how keys stand.

    Raises:
        ConfigurationError: Nobody says who may, or an argument is not what it should be.
    """

    def __init__(
        self,
        keys: ManagedKeys,
        authorise: Authoriser | AuthoriseFunction,
        *,
        realm: str = "API keys",
        max_body: int = MAX_BODY,
        clock: Clock | None = None,
    ) -> None:
        if isinstance(max_body, bool) or max_body < 1:
            raise ConfigurationError("max_body must be at least 1 byte; leave it out for 65,536")
        self._keys = keys
        authoriser = authoriser_of(authorise)
        desk = _Desk(keys, authoriser, realm=realm, max_body=max_body, clock=clock or SystemClock())
        self._router = Router(
            routes=[
                *description_routes(schemes_of(authoriser)),
                *(Route(path, _Path(desk, each)) for path, each in _by_path(OPERATIONS).items()),
            ],
            redirect_slashes=False,
            default=_nowhere,
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self._router(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: ASGIApp) -> AsyncIterator[None]:
        await self._keys.open()
        try:
            yield
        finally:
            await self._keys.close()


class _Path:
    """All operations of one path, by method."""

    def __init__(self, desk: _Desk, operations: Iterable[Operation]) -> None:
        self._desk = desk
        self._operations = {each.method: each for each in operations}
        allowed = {*self._operations, "OPTIONS", *(["HEAD"] if "GET" in self._operations else [])}
        self._allow = (b"allow", ", ".join(sorted(allowed)).encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        operation = self._operations.get("GET" if method == "HEAD" else method)
        if operation is not None:
            answer = await self._desk.answer(operation, Request(scope, receive))
        elif method == "OPTIONS":
            answer = Answer(204, (self._allow, (b"cache-control", b"no-store")), b"")
        else:
            answer = plain_answer(HTTPStatus.METHOD_NOT_ALLOWED, self._allow)
        if answer is not None:
            await _send(answer, scope, send)


class _Desk:
    """Does one operation: who asks, may he, what for, done, answered."""

    def __init__(self, keys: ManagedKeys, authoriser: Authoriser, *, realm: str, max_body: int, clock: Clock) -> None:
        self._keys = keys
        self._authoriser = authoriser
        self._answers = Answers(realm=realm, bearer=True, api_key=True)
        self._max_body = max_body
        self._clock = clock
        self._flights: SingleFlight[tuple[str, bytes], Answer | None] = SingleFlight()

    async def answer(self, operation: Operation, request: Request) -> Answer | None:
        """Return the answer; None: the client has gone."""
        if not operation.public:
            return await self._answer(operation, request)
        # Nobody is asked who he is, so nobody must be able to make the store work by asking often.
        asked = operation.name, request.scope.get("query_string") or b""
        return await self._flights.run(asked, lambda: self._answer(operation, request))

    async def _answer(self, operation: Operation, request: Request) -> Answer | None:
        try:
            caller = await self._caller(operation, request)
        except APIKeyError as error:
            _note(error)
            return self._answers.answer_to(error)
        except Exception as failure:  # denies the request: who asks cannot be told
            return self._undecided(failure)
        try:
            return await self._done(operation, request, caller)
        except ClientDisconnect:
            return None
        except APIKeyError as error:
            _note(error)
            return self._answers.detailed_answer_to(error)
        except Exception as failure:  # denies the request: what became of it cannot be told
            return self._undecided(failure)

    async def _caller(self, operation: Operation, request: Request) -> Caller:
        """Return who asks, if he may do that."""
        caller = _NOBODY if operation.public else await self._authoriser.authorise(request.scope)
        if operation.action is not None and operation.action not in caller.actions:
            raise MissingScope(frozenset({operation.action.scope}))
        return caller

    async def _done(self, operation: Operation, request: Request, caller: Caller) -> Answer:
        given: bytes = request.scope.get("query_string") or b""
        key_id: str = request.path_params.get("key_id", "")
        check_no_key(given, key_id.encode(errors="replace"))
        wait = True
        if operation.method != "GET":
            asked = decoded_query(given, operation.query)
            wait = asked.wait if isinstance(asked, Waiting) else True
            began = self._clock.monotonic()
            given = await body_of(request, most=self._max_body)
            if self._clock.monotonic() - began > _AT_ONCE:
                # He may have been revoked since: a body on its way must not keep open a door that has been closed.
                caller = await self._caller(operation, request)
            if not is_json(request, given):
                return plain_answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, (b"accept", b"application/json"))
            if not operation.presents:
                check_no_key(given)
        call = Call(
            caller=with_occasion(caller, request),
            now=self._clock.wall(),
            key_id=key_id,
            version=version_of(request) if operation.matches else None,
            idempotency_key=idempotency_key_of(request) if operation.repeats else None,
            wait=wait,
            root=quote(request.scope.get("root_path") or ""),
        )
        return _written(await operation.run(self._keys, call, given))

    def _undecided(self, failure: Exception) -> Answer:
        _log.error("a management request failed: %s", described(failure), extra={"event": "management_failed"})
        return self._answers.answer_to(Undecidable())


def _note(error: APIKeyError) -> None:
    if not isinstance(error, AuthenticationError | Undecidable | LifecycleError):
        _log.error("a management request failed: %s", described(error), extra={"event": "management_failed"})


def _written(reply: Reply) -> Answer:
    body = msgspec.json.encode(reply.content)
    headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *((name.encode(), value.encode("latin-1")) for name, value in reply.headers),
    )
    return Answer(reply.status, headers, body)


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    await _send(plain_answer(HTTPStatus.NOT_FOUND), scope, send)


async def _send(answer: Answer, scope: Scope, send: Send) -> None:
    # A list of its own each time: middleware outside appends to it.
    await send({"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


def _by_path(operations: Iterable[Operation]) -> Mapping[str, list[Operation]]:
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)
    return paths
