"""`/verify`: a proxy asks whether to let a request through, and does what the status says.

nginx calls it `auth_request`. It takes 2xx for yes, 401 and 403 for no, and everything else for a fault, so those and
503, "cannot decide", are all that is ever answered:

| status | when |
|---|---|
| 200 | the key is accepted; who it is stands in `X-API-Key-Id`, `-Owner`, `-Tenant` and `-Scopes` |
| 401 | no key, a bad one, or more than one |
| 403 | a good key without a scope that is asked for, or from elsewhere, or for something else, than it is for |
| 503 | it cannot be decided, a part of the question is not understood, or a limit is used up: `Retry-After` says when |

Which request it is about stands in `X-Original-Method` and `X-Original-URI`, which the proxy has to set, whatever the
client has sent. The scopes that it takes are in the query of the subrequest, which the proxy writes too:
`/verify?scope=orders:read`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from asgi_apikey.asgi.admission import get_api_key
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.asgi.problems import Answers
from asgi_apikey.asgi.refusals import Refusals
from asgi_apikey.asgi.types import ASGIApp, Headers, Keys, Receive, Scope, Send, TokenVerifier
from asgi_apikey.errors import (
    AmbiguousCredential,
    APIKeyError,
    InvalidKey,
    LimitExceeded,
    MissingScope,
    RateLimited,
    TooManyConnections,
    Undecidable,
)
from asgi_apikey.models import HOUR, Principal
from asgi_apikey.policy import is_scope_name, missing_scopes
from asgi_apikey.service.requests import note

METHOD: Final = b"x-original-method"
URI: Final = b"x-original-uri"

_UNKNOWN_PATH: Final = "//"
"""In an odd spelling, so no restricted key passes where the proxy does not say what the request is about."""

_WEBSOCKET: Final = b"websocket"
# What RFC 9110 section 5.6.2 allows in a token, and what addresses and paths have; the percent sign escapes the rest.
_PLAIN: Final = "!#$&'*+-.^_`|~@:/"


class Sidecar:
    """Answers the questions of a proxy.

    Args:
        keys: Who knows the keys, an `APIKeys`.
        header: The header that carries the key.
        bearer: Whether `Authorization: Bearer <key>` does.
        jwt: Who verifies tokens, if those are let in; needs `bearer`.
    """

    def __init__(
        self, keys: Keys, *, header: str = "X-API-Key", bearer: bool = True, jwt: TokenVerifier | None = None
    ) -> None:
        self._refusals = Refusals(Answers(realm="api", bearer=bearer, api_key=True))
        self._guard = APIKeyMiddleware(
            self._admit,
            keys=keys,
            header=header,
            bearer=bearer,
            jwt=jwt,
            allow_preflight=False,
            on_refusal=self._refusal,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one question."""
        try:
            question = asked_about(scope)
        except Undecidable as error:
            await self._refusals.refuse(error, scope, receive, send)
            return
        await self._guard(question, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = get_api_key(scope)
        refusal = _refusal_of(principal, scope["asgi_apikey.needed"])
        if principal is None or refusal is not None:
            await self._refusal(refusal or Undecidable())(scope, receive, send)
            return
        note(scope, key_id=principal.key_id)
        headers = [(b"content-length", b"0"), (b"cache-control", b"no-store"), *described(principal)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _refusal(self, error: APIKeyError) -> ASGIApp:
        told = _told(error)
        key_id = error.key_id if isinstance(error, InvalidKey) else None

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            note(scope, key_id=key_id, refused=error.reason if isinstance(error, InvalidKey) else error.code)
            await self._refusals.refuse(told, scope, receive, send)

        return refuse


def asked_about(scope: Scope) -> Scope:
    """Return the ASGI scope of the request that a proxy asks about, with the scopes that it needs.

    Raises:
        Undecidable: The question has a part that is not understood: to pass over it could let somebody in.
    """
    needed = frozenset(_scopes(scope.get("query_string") or b""))
    method, uri = _only(scope["headers"], METHOD), _only(scope["headers"], URI)
    raw_path = (uri or _UNKNOWN_PATH.encode()).partition(b"?")[0]
    return {
        **scope,
        "method": "WEBSOCKET" if _upgrades(scope["headers"]) else (method or b"").decode("latin-1"),
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": b"",
        "asgi_apikey.needed": needed,
    }


def described(principal: Principal) -> Headers:
    """Return whom a key speaks for, as headers: visible ASCII, whatever stands in the record."""
    told = {
        b"x-api-key-id": principal.key_id,
        b"x-api-key-owner": principal.owner,
        b"x-api-key-tenant": principal.tenant,
    }
    # Empty ones too: a proxy that copies only what is there would leave in place what the client has sent.
    headers = [(name, quote(value, safe=_PLAIN, errors="replace").encode()) for name, value in told.items()]
    # Names of scopes are visible ASCII without blanks; this is the last border before a header line.
    scopes = " ".join(sorted(filter(is_scope_name, principal.scopes)))
    return [*headers, (b"x-api-key-scopes", scopes.encode())]


def _refusal_of(principal: Principal | None, needed: frozenset[str]) -> APIKeyError | None:
    if principal is None:
        return Undecidable()
    return MissingScope(needed) if missing_scopes(principal.scopes, needed) else None


def _told(error: APIKeyError) -> APIKeyError:
    """Return the error that is answered: one of 401, 403 and 503."""
    if isinstance(error, AmbiguousCredential):
        return InvalidKey()
    if isinstance(error, RateLimited | LimitExceeded):
        # Not 403: it is the right key for the right thing, later.
        return Undecidable(retry_after=error.retry_after or HOUR)
    return Undecidable() if isinstance(error, TooManyConnections) else error


def _scopes(query: bytes) -> Collection[str]:
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise Undecidable("the query of the question cannot be read") from error
    if not all(name == "scope" and is_scope_name(value) for name, value in pairs):
        raise Undecidable("the question is about something else than scope=<name>")
    return [value for _, value in pairs]


def _only(headers: Headers, wanted: bytes) -> bytes | None:
    """Return the one header of a name; None: there is none.

    Raises:
        Undecidable: There are several: one of them is the client's.
    """
    found = [value for name, value in headers if name.lower() == wanted]
    if len(found) > 1:
        raise Undecidable(f"the proxy has passed on a second {wanted.decode()}")
    return found[0] if found else None


def _upgrades(headers: Headers) -> bool:
    """Whether the request opens a WebSocket: the proxy passes the header on as it is."""
    return any(name.lower() == b"upgrade" and value.strip().lower() == _WEBSOCKET for name, value in headers)
