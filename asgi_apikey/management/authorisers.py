"""Who may manage: by an API key, by a token, by the session of the application around, or by one of these.

None of them answers from memory: a key is read from the repository with every request.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeAlias, cast

from asgi_apikey.arguments import check_flags
from asgi_apikey.asgi.checks import required_scopes
from asgi_apikey.asgi.extract import Extractor, is_token
from asgi_apikey.asgi.proxies import address_of
from asgi_apikey.asgi.restrict import check_restrictions
from asgi_apikey.asgi.types import Scope, TokenVerifier
from asgi_apikey.errors import ConfigurationError, InvalidRequest, MissingCredential, Undecidable
from asgi_apikey.grants import EVERYTHING, Grant, grant_of
from asgi_apikey.limits import NOTHING, UNLIMITED
from asgi_apikey.management.callers import Authoriser, Caller
from asgi_apikey.management.crosssite import is_from_elsewhere
from asgi_apikey.management.faces import OPERATOR, caller_with
from asgi_apikey.management.schemes import TOKEN_SCHEMES, key_schemes, session_schemes
from asgi_apikey.models import KeyRecord, Metadata, Principal
from asgi_apikey.policy import EVERY_ROUTE, EVERYWHERE, NO_ROUTE, NOWHERE, missing_scopes
from asgi_apikey.verification import principal_of

AuthoriseFunction: TypeAlias = Callable[[Scope], Awaitable[Caller]]
"""An async function of the application: from a request's ASGI scope to who has sent it. Raises as `Authoriser` does."""


class KeyVerifier(Protocol):
    """All that managing by key needs to know about keys; `APIKeys` is one."""

    async def verify(self, presented: bytes, *, client: str | None = None) -> KeyRecord:
        """Return the record of a key that may be used, read from the repository after this call began.

        Raises:
            AuthenticationError: The key authenticates nobody, or there were too many failures.
            Undecidable: That cannot be told now.
        """
        ...


class KeyAuthoriser:
    """Lets those manage whose API key has scopes for it; `faces` lists them.

    What such a key may hand on is what it may do itself: its scopes, its networks and routes, until its own end.

    Args:
        keys: Who knows the keys, an `APIKeys`.
        header: The header that carries the key; None for none.
        bearer: Whether `Authorization: Bearer <key>` does.
        delegates: Whether the scopes that manage keys may be handed on like others. If not, keys that manage come from
            the command line alone.

    Raises:
        ConfigurationError: No place is enabled, or an argument is something else than it should be.
    """

    def __init__(
        self, keys: KeyVerifier, *, header: str | None = "X-API-Key", bearer: bool = True, delegates: bool = False
    ) -> None:
        check_flags(bearer=bearer, delegates=delegates)
        if not callable(getattr(keys, "verify", None)):
            raise ConfigurationError(f"keys is a {type(keys).__name__}; write KeyAuthoriser(keys) with an APIKeys")
        self.header = header
        self.bearer = bearer
        self.schemes: Metadata = key_schemes(header, bearer=bearer)
        self._keys = keys
        self._extractor = Extractor(header=header, bearer=bearer)
        self._delegates = delegates

    async def authorise(self, scope: Scope) -> Caller:
        """Return who has sent a request; see `Authoriser`."""
        presented = _presented(self._extractor, scope)
        record = await self._keys.verify(presented, client=address_of(scope))
        try:
            principal, grant = principal_of(record), grant_of(record)
        except InvalidRequest as error:
            raise Undecidable("the key's restrictions cannot be read; were they changed by other means?") from error
        check_restrictions(principal, scope)
        return caller_with(
            record.scopes,
            grant,
            owner=record.owner,
            tenant=record.tenant,
            name=f"key:{record.key_id}",
            key_id=record.key_id,
            delegates=self._delegates,
        )


class JWTAuthoriser:
    """Lets those manage whose token has scopes for it, the same as a key's.

    The token's subject is the owner. What it may hand on is the scopes that it has, from everywhere, for everything and
    for ever: a token ends in minutes, but the person behind it does not, so `ExpiryPolicy` bounds the keys and not
    `exp`.

    Args:
        tokens: Who verifies tokens, a `JWTVerifier`; its `scope_map` makes scopes of an issuer's roles.
        scopes: What everybody who has a token has besides: `("apikeys:read", "apikeys:write", "orders:*")` lets all
            who can log in make keys of their own.
        delegates: Whether the scopes that manage keys may be handed on like others.

    Raises:
        ConfigurationError: An argument is something else than it should be, or would make everybody an operator.
    """

    def __init__(self, tokens: TokenVerifier, *, scopes: Collection[str] = (), delegates: bool = False) -> None:
        check_flags(delegates=delegates)
        if not callable(getattr(tokens, "authenticate", None)) or callable(
            getattr(tokens, "authenticate_nowait", None)
        ):
            raise ConfigurationError(f"tokens is a {type(tokens).__name__}; write JWTAuthoriser(JWTVerifier(…))")
        self.schemes: Metadata = TOKEN_SCHEMES
        self._tokens = tokens
        self._extractor = Extractor(header=None, bearer=True)
        self._scopes = required_scopes(scopes)
        if not missing_scopes(self._scopes, [OPERATOR]):
            raise ConfigurationError(
                f"scopes={sorted(self._scopes)} would make an operator of everybody who can log in; "
                f"leave {OPERATOR} and apikeys:* to the verifier's scope_map, which gives them to a role"
            )
        self._delegates = delegates

    async def authorise(self, scope: Scope) -> Caller:
        """Return who has sent a request; see `Authoriser`."""
        principal = await self._tokens.authenticate(_presented(self._extractor, scope))
        check_restrictions(principal, scope)
        scopes = principal.scopes | self._scopes
        return caller_with(
            scopes,
            _grant_of_token(principal, scopes),
            owner=principal.owner,
            tenant=principal.tenant,
            name=principal.key_id,
            delegates=self._delegates,
        )


class SessionAuthoriser:
    """Lets those manage of whom a function of the application says so, say from its session.

    A request that changes something and that another site has made a browser send is as one without credentials:
    cookies come with it whoever has started it.

    Args:
        function: Returns the caller, or raises as `Authoriser` does.
        cookie: The session's cookie; `AnyOf` has to know it.

    Raises:
        ConfigurationError: That is not an async function.
    """

    def __init__(self, function: AuthoriseFunction, *, cookie: str | None = None) -> None:
        if not _is_async(function):
            raise ConfigurationError(f"{function!r} is not an async function from an ASGI scope to a Caller")
        self.cookie = cookie
        self.schemes: Metadata = session_schemes(cookie)
        self._function = function

    async def authorise(self, scope: Scope) -> Caller:
        """Return who has sent a request; see `Authoriser`."""
        if is_from_elsewhere(scope):
            raise MissingCredential
        caller = await self._function(scope)
        if not isinstance(caller, Caller):
            raise TypeError("the function that authorises has returned something else than a Caller")
        return caller


class AnyOf:
    """Takes several kinds of credentials, one per request, told apart by shape before anything is verified.

    Whatever comes of it, nobody else is asked. A Bearer value of three parts with dots between is a token, every other
    one, and the header, a key; the cookie is the session's.

    Args:
        keys: Manages by key.
        tokens: Manages by token.
        session: Manages by session; its cookie must be named.

    Raises:
        ConfigurationError: Fewer than two, or a session without its cookie's name, or two read the same field.
    """

    def __init__(
        self,
        *,
        keys: KeyAuthoriser | None = None,
        tokens: JWTAuthoriser | None = None,
        session: SessionAuthoriser | None = None,
    ) -> None:
        if sum(each is not None for each in (keys, tokens, session)) < 2:
            raise ConfigurationError("AnyOf needs two kinds of credentials; with one, pass that authoriser alone")
        if session is not None and session.cookie is None:
            raise ConfigurationError("AnyOf has to know the session's cookie; write SessionAuthoriser(…, cookie=…)")
        self.schemes: Metadata = {
            name: scheme
            for each in (keys, tokens, session)
            if each is not None
            for name, scheme in each.schemes.items()
        }
        self._header = None if keys is None or keys.header is None else keys.header.lower().encode()
        self._judges: dict[str, Authoriser] = {}
        if keys is not None:
            self._judges |= {"header": keys} | ({"bearer": keys, "token": keys} if keys.bearer else {})
        if tokens is not None:
            self._judges = {"bearer": tokens} | self._judges | {"token": tokens}
        if session is not None:
            self._judges |= {"cookie": session}
        self._extractor = Extractor(
            header=None if keys is None else keys.header,
            bearer="bearer" in self._judges,
            cookie=None if session is None else session.cookie,
        )

    async def authorise(self, scope: Scope) -> Caller:
        """Return who has sent a request; see `Authoriser`."""
        presented = _presented(self._extractor, scope)
        return await self._judges[self._kind(presented, scope)].authorise(scope)

    def _kind(self, presented: bytes, scope: Scope) -> str:
        """Return where the one credential stands that there is, and for Bearer what it looks like."""
        if self._extractor.is_bearer(scope["headers"]):
            return "token" if is_token(presented) else "bearer"
        return "header" if any(name.lower() == self._header for name, _ in scope["headers"]) else "cookie"


def authoriser_of(authorise: object) -> Authoriser:
    """Return what the management API asks: an authoriser as it is, an async function as a `SessionAuthoriser`.

    Raises:
        ConfigurationError: It is neither.
    """
    if not isinstance(authorise, type):
        if callable(getattr(authorise, "authorise", None)):
            return cast("Authoriser", authorise)
        if _is_async(authorise):
            return SessionAuthoriser(cast("AuthoriseFunction", authorise))
    raise ConfigurationError(
        "say who may manage keys: authorise=KeyAuthoriser(keys), JWTAuthoriser(…), AnyOf(…), "
        "or an async function from an ASGI scope to a Caller"
    )


def _presented(extractor: Extractor, scope: Scope) -> bytes:
    presented = extractor.find(scope["headers"], b"")
    if presented is None:
        raise MissingCredential
    return presented


def _grant_of_token(principal: Principal, scopes: frozenset[str]) -> Grant:
    # Where a token of somebody's own verifier may be used is known by asking alone, so it cannot be handed on.
    free = principal.restrictions is None
    return Grant(
        scopes=scopes,
        environments=frozenset({principal.environment}),
        networks=EVERYWHERE if free else NOWHERE,
        routes=EVERY_ROUTE if free else NO_ROUTE,
        limits=UNLIMITED if free else NOTHING,
        origins=EVERYTHING if free else frozenset(),
        until=math.inf,
    )


def _is_async(function: object) -> bool:
    return callable(function) and (
        inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    )
