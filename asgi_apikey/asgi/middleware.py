"""The middleware: every request in, a principal or a refusal out."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from asgi_apikey.arguments import check_flags, check_texts, present
from asgi_apikey.asgi.admission import ADMISSION, CURRENT, Admission, admission_of, claimed_state
from asgi_apikey.asgi.checks import (
    check_names,
    check_parts,
    check_tokens,
    check_websockets,
    connections_of,
    report_of,
    reported_stages,
    required_scopes,
)
from asgi_apikey.asgi.connection import LIVE, Connection, demand
from asgi_apikey.asgi.connections import WATCHED, Admitted, Live
from asgi_apikey.asgi.exempt import ExemptPaths
from asgi_apikey.asgi.explain import explained
from asgi_apikey.asgi.extract import Extractor, is_token
from asgi_apikey.asgi.lifespan import run_lifespan
from asgi_apikey.asgi.limiting import taken_for, telling
from asgi_apikey.asgi.opening import Opening
from asgi_apikey.asgi.preflight import is_preflight
from asgi_apikey.asgi.problems import Answers
from asgi_apikey.asgi.proxies import proxies_of
from asgi_apikey.asgi.refusals import OnRefusal, Refusals
from asgi_apikey.asgi.require import guardable, refusal_of
from asgi_apikey.asgi.restrict import Boundary
from asgi_apikey.asgi.subprotocol import harmless, without_ours
from asgi_apikey.asgi.types import ASGIApp, Headers, Keys, Receive, Scope, Send, TokenVerifier
from asgi_apikey.asgi.websockets import AS_REQUESTS, WebSockets
from asgi_apikey.errors import APIKeyError, AuthenticationError, LimitExceeded, MissingScope
from asgi_apikey.explainer import Explanation
from asgi_apikey.models import Principal
from asgi_apikey.standings import Sight

_BEARER = b"Bearer "


class APIKeyMiddleware:
    """Guards an ASGI application with API keys, on HTTP and WebSockets.

    Wrap the whole application: `app = APIKeyMiddleware(app, keys=keys)`. Every request gets an entry in its state,
    the principal or None; whoever is refused never reaches the application. Revoking a key stops new requests and
    closes open WebSockets; responses that have begun go on, unless `live` says otherwise. Other kinds of connection
    than HTTP, WebSocket and lifespan are refused with an exception, as ASGI demands for what an application does not
    know.

    The application gets a copy of the header list, so trailers that a server adds later are not in it. A key in
    the query string is always overwritten in the ASGI scope, for the server's access log; `strip` removes
    the credential altogether, wherever it was.

    Nested in another one with the same `keys` (for a token: the same `jwt`), it takes over the verdict and adds its own
    requirements. It keeps nothing between requests: frameworks may build as many instances as they like.

    Args:
        app: The application inside.
        keys: Who knows the keys, an `APIKeys`.
        header: The header that carries the key, None for none. In any upper and lower case; `_` is not `-`.
        query_param: The query parameter that does, None for none. URLs end up in logs, histories and `Referer`.
        bearer: Whether `Authorization: Bearer <key>` does.
        jwt: Who verifies JSON Web Tokens, a `JWTVerifier`; None: nobody. A Bearer value of three parts with two dots
            between is a token and goes there, every other credential goes to `keys`; neither gets what the other has
            rejected. Needs `bearer`.
        cookie: The cookie that does, None for none. Browsers send it with requests that other sites start, and a
            WebSocket handshake obeys no CORS rule: check `Origin` where this is enabled.
        exempt: Paths that need no key: `"/health"`, or `"/static/*"` for all below. Requests for them are anonymous,
            whatever they carry. Odd spellings of a path are never exempt.
        required: Whether a request must carry a key. If not, one without is anonymous; a bad key is refused anyway.
        scopes: What a key must be granted, by name or by a wildcard. Anonymous requests, where they are let through,
            are not asked.
        strip: Whether the credential is removed before the application sees the request.
        state_key: Where the principal is, in the request's state.
        on_refusal: Answers refused requests in place of the standard body, see `Refusals`.
        allow_preflight: Whether CORS preflights pass, anonymous: `OPTIONS` with one `Origin` and one
            `Access-Control-Request-Method`, without a body and without a credential, as browsers send them.
        realm: The protection space named in `WWW-Authenticate`.
        websockets: How WebSockets may present their key beside these places, and how they are refused.
        live: What becomes of connections that are open when their key is not accepted any more; None: they stay open.
        trusted_proxies: Addresses and networks of the proxies in front, and `"unix"` for one on a Unix socket. What
            they say in `forwarded_header` is where a request is from; nobody else is believed.
        forwarded_header: `X-Forwarded-For`, or another one that lists addresses, or `Forwarded`.
        report_only: What is on trial: of `networks`, `origins`, `routes` and `scopes`, those whose refusals are counted
            and logged, and not made. The rest is refused as ever.

    Raises:
        ConfigurationError: The arguments make no sense together, or would leave something open.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        header: str | None = "X-API-Key",
        query_param: str | None = None,
        bearer: bool = False,
        jwt: TokenVerifier | None = None,
        cookie: str | None = None,
        exempt: Collection[str] = (),
        required: bool = True,
        scopes: Collection[str] = (),
        strip: bool = False,
        state_key: str = "api_key",
        on_refusal: OnRefusal | None = None,
        allow_preflight: bool = True,
        realm: str = "api",
        websockets: WebSockets = AS_REQUESTS,
        live: Live | None = WATCHED,
        trusted_proxies: Collection[str] = (),
        forwarded_header: str = "X-Forwarded-For",
        report_only: Collection[str] = (),
    ) -> None:
        check_parts(app, keys, on_refusal)
        check_texts(**present(header=header, query_param=query_param, cookie=cookie))
        check_flags(bearer=bearer, required=required, strip=strip, allow_preflight=allow_preflight)
        check_names(exempt, state_key, realm)
        check_tokens(jwt, bearer=bearer)
        self._connections = connections_of(keys, live)
        check_websockets(websockets, live, watched=self._connections is not None, required=required)
        self.app = app
        self._keys = keys
        self._jwt = jwt
        self._live = live
        self._websockets = websockets
        self._extractor = Extractor(header=header, query_param=query_param, bearer=bearer, cookie=cookie)
        self._exempt = ExemptPaths(exempt) if exempt else None
        self._required = required
        self._scopes = required_scopes(scopes)
        self._boundary = Boundary(
            proxies=proxies_of(trusted_proxies, forwarded_header),
            report_only=reported_stages(report_only),
            report=report_of(keys, report_only),
        )
        self._strip = strip
        self._state_key = state_key
        self._allow_preflight = allow_preflight
        self._refusals = Refusals(
            Answers(realm=realm, bearer=bearer, api_key=self._extractor.other_places),
            on_refusal=on_refusal,
            close_codes=websockets.close_codes,
        )
        # Bound once: each saves an attribute look-up and a descriptor call per request.
        self._recall = self._recall_bearer if bearer else keys.authenticate_nowait
        self._prefix = _BEARER if bearer else b""
        self._lifespan_states = keys.lifespan_states
        streams = live is not None and live.streams
        self._straight = b"" if strip or streams else self._extractor.only_header
        self._straight_size = len(self._straight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection.

        Written out is the straight line through `_look_closely` for almost every request, that with a remembered key in
        the one header where keys are looked for: the same decisions, without the branches and the calls. Whatever is
        not plain leaves `principal` None.
        """
        principal: Principal | None = None
        try:
            if (
                (wanted := self._straight)
                and scope["type"] == "http"
                and scope["method"] != "OPTIONS"
                and ADMISSION not in scope
                and (self._exempt is None or not self._exempt.matches(scope))
            ):
                scope["headers"] = headers = list(scope["headers"])
                size = self._straight_size
                presented: bytes | None = None
                for name, value in headers:
                    # The length first: `lower` on each name would cost as much as the rest of the scan.
                    if len(name) == size and name.lower() == wanted:
                        if presented is not None:
                            presented = None
                            break
                        presented = value
                # Blanks around it, which servers should have removed, only make this a miss.
                if presented is not None and (principal := self._recall(presented)) is not None:
                    if principal.restrictions is not None:
                        self._boundary.check(principal, scope)
                        if principal.limits is not None:
                            # The one await on this line. It ends in another last look.
                            key = presented.removeprefix(self._prefix)
                            principal, send = await self._limited(principal, key, scope, send)
                    if self._scopes and not self._scopes <= principal.scopes:
                        self._check_wildcards(principal)
                    state, state_key = scope.get("state"), self._state_key
                    if not isinstance(state, dict) or state_key in state or id(state) in self._lifespan_states:
                        # The call for everybody would cost a twentieth of the whole.
                        state = claimed_state(scope, state_key, self._lifespan_states)
                    state[state_key] = principal
                    scope[ADMISSION] = (self._keys, principal, headers, self._refusals)
        except Exception as error:
            # Denies the request: whatever went wrong before we knew the principal, nobody gets in.
            await self._refuse(error, scope, receive, send)
            return
        if principal is None:
            await self._look_closely(scope, receive, send)
            return
        token = CURRENT.set(principal)
        try:
            await self.app(scope, receive, send)
        finally:
            CURRENT.reset(token)
            scope[ADMISSION] = None

    async def explain(self, scope: Scope) -> Explanation:
        """Return what each stage decides about the key of a request, for operators; nothing is counted or changed.

        Exempt paths, preflights, tokens and limits are not asked about.

        Args:
            scope: The request's, as the server makes it.

        Raises:
            ConfigurationError: The keys cannot explain.
        """
        find = partial(self._extractor.find, scope["headers"], scope.get("query_string") or b"", self._offered(scope))
        return await explained(scope, find, keys=self._keys, boundary=self._boundary, scopes=self._scopes)

    def _check_wildcards(self, principal: Principal) -> None:
        """Let a key pass whose scopes cover ours without naming them.

        Raises:
            MissingScope: They do not.
        """
        refusal = self._refusal_of(principal)
        if refusal is not None:
            raise refusal

    def _refusal_of(self, principal: Principal | None) -> APIKeyError | None:
        """Return why our scopes keep a principal, or nobody, out; None if they do not."""
        refusal = refusal_of(principal, self._scopes)
        if principal is not None and isinstance(refusal, MissingScope) and self._boundary.spares(principal, refusal):
            return None
        return refusal

    async def _limited(
        self, principal: Principal, presented: bytes, scope: Scope, send: Send
    ) -> tuple[Principal, Send]:
        """Take what the request costs; return who sends it, as it is known after that, and what tells him what is left.

        Nothing is taken for whoever is refused for another reason. While we wait here, the key may be revoked.

        Raises:
            AuthenticationError: A scope is missing, or the limits are used up, or the key is no longer what it was.
            Undecidable: That cannot be told.
        """
        if self._boundary.enforces(MissingScope):
            self._check_wildcards(principal)
        readings = await taken_for(self._keys.limiter, principal, scope)
        affirmed = await self._keys.reaffirm(presented, client=self._boundary.payer_of(scope))
        if affirmed is not principal:
            self._boundary.check(affirmed, scope)
        return affirmed, telling(send, readings)

    def _recall_bearer(self, authorization: bytes) -> Principal | None:
        """The keys' `authenticate_nowait`, of a value that is plainly `Bearer` and a key.

        What has a token's shape is none of theirs where tokens are accepted, remembered or not.
        """
        presented = authorization[len(_BEARER) :]
        if not authorization.startswith(_BEARER) or (self._jwt is not None and is_token(presented)):
            return None
        return self._keys.authenticate_nowait(presented)

    async def _look_closely(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("type") == "lifespan":
            await run_lifespan(self.app, self._keys, scope, receive, send)
            return
        guardable(scope)
        outer, outer_live = admission_of(scope), scope.get(LIVE)
        opening = self._opening(scope, receive, send)
        if opening is not None:
            receive, send = opening.receive, opening.send
        try:
            principal, send, admitted = await self._decide(scope, outer, send, opening)
            connection = self._watched(scope, receive, send, principal, admitted)
        except Exception as error:
            # Denies the request: cannot decide is a no.
            _restore(scope, outer, outer_live)
            await self._refuse(error, scope, receive, send)
            return
        # Nothing is awaited from here to the application: the last look was taken inside `_decide`.
        token = CURRENT.set(principal)
        try:
            if connection is None:
                await self.app(scope, receive, send)
            else:
                await connection.run(self.app, scope)
        finally:
            CURRENT.reset(token)
            _restore(scope, outer, outer_live)
        if connection is not None and connection.ended is not None and connection.unanswered:
            await self._refuse(connection.ended, scope, receive, send)

    def _opening(self, scope: Scope, receive: Receive, send: Send) -> Opening | None:
        """Return what opens a WebSocket in another way than its application would; None if nothing does."""
        options = self._websockets
        if scope["type"] != "websocket" or not (options.subprotocol or options.first_message is not None):
            return None
        return Opening(scope, receive, send, options)

    def _watched(
        self, scope: Scope, receive: Receive, send: Send, principal: Principal | None, admitted: Admitted | None
    ) -> Connection | None:
        """Return the connection if it is to be watched from here; None if it is not, or is from further out.

        Raises:
            TooManyConnections: Its key has enough of them.
        """
        if admitted is None or self._live is None or self._connections is None:
            demand(scope, principal, self._refusal_of)
            return None
        connection = self._connections.enter(scope, receive, send, admitted=admitted, live=self._live)
        # A copy, for routers further in change the path.
        connection.demand(partial(self._refusal_to, dict(scope)))
        scope[LIVE] = connection
        return connection

    def _refusal_to(self, scope: Scope, principal: Principal) -> APIKeyError | None:
        """Return why a principal whose key has changed would not be let in with this ASGI scope; None if it would."""
        try:
            self._boundary.check(principal, scope)
        except AuthenticationError as error:
            return error
        return self._refusal_of(principal)

    async def _decide(
        self, scope: Scope, outer: Admission | None, send: Send, opening: Opening | None
    ) -> tuple[Principal | None, Send, Admitted | None]:
        """Return who gets in, None for anonymous, having prepared the ASGI scope for it; how it is answered; by what.

        Raises:
            AuthenticationError: Nobody does.
            Undecidable: That cannot be told.
        """
        state = self._state(scope, outer)
        headers, query_string = _snapshot(scope, outer), scope.get("query_string") or b""
        offered = self._offered(scope)
        shown = self._conceal(scope, headers, query_string)
        admitted = None
        if self._is_open(scope, headers, query_string):
            principal, by = self._inherited(outer)
        else:
            found = await self._identified(scope, headers, query_string, offered, outer, send, opening)
            principal, by, send, admitted = found
            refusal = self._refusal_of(principal) if principal is not None or self._required else None
            if refusal is not None:
                raise refusal
        if state[self._state_key] is not principal:
            state[self._state_key] = principal
        scope[ADMISSION] = (by, principal, shown, self._refusals)
        return principal, send, admitted

    def _state(self, scope: Scope, outer: Admission | None) -> dict[str, object]:
        """Claim the request's state, unless a layer further out has done so and its entry stands."""
        principal, _ = self._inherited(outer)
        state = scope.get("state")
        if principal is not None and isinstance(state, dict) and state.get(self._state_key) is principal:
            return state
        return claimed_state(scope, self._state_key, self._lifespan_states)

    def _conceal(self, scope: Scope, headers: Headers, query_string: bytes) -> Headers:
        """Take the credential out of what others see from here on; return the headers they see."""
        extractor = self._extractor
        if extractor.reads_query:
            hide = extractor.stripped_query if self._strip else extractor.redacted_query
            scope["query_string"] = hide(query_string)
        if self._offered(scope):
            headers, scope["subprotocols"] = without_ours(headers), harmless(scope)
        shown = scope["headers"] = extractor.stripped_headers(headers) if self._strip else headers
        return shown

    def _offered(self, scope: Scope) -> list[str]:
        """The subprotocols that a client offers, where they are a place for keys."""
        place = self._websockets.subprotocol and scope["type"] == "websocket"
        return (scope.get("subprotocols") or []) if place else []

    def _is_open(self, scope: Scope, headers: Headers, query_string: bytes) -> bool:
        """Whether the request needs no key."""
        if self._exempt is not None and self._exempt.matches(scope):
            return True
        if not self._allow_preflight or scope.get("method") != "OPTIONS":
            return False
        # Whoever presents a key wants it judged; a browser's preflight has none.
        return is_preflight(headers) and not self._extractor.carries(headers, query_string)

    async def _identified(
        self,
        scope: Scope,
        headers: Headers,
        query_string: bytes,
        offered: list[str],
        outer: Admission | None,
        send: Send,
        opening: Opening | None,
    ) -> tuple[Principal | None, Keys | TokenVerifier, Send, Admitted | None]:
        """Return whom the request speaks for, None if it carries nothing to tell by; who says so; how it is answered.

        And if it was found out here, not further out: by what, to find it out again.
        """
        inherited, by = self._inherited(outer)
        if inherited is not None and outer is not None and headers is outer[2]:
            return inherited, by, send, None
        # A key in headers that the layer further out has not seen is a credential like any other.
        presented = self._extractor.find(headers, query_string, offered)
        if presented is None and inherited is None and opening is not None and self._connections is not None:
            presented = await opening.key(self._connections)
        if presented is None:
            return inherited, by, send, None
        since, verify = self._look_before(scope), None
        # Told apart by shape, before anything is verified: whatever comes of it, nobody else is asked.
        if self._jwt is not None and is_token(presented) and self._extractor.is_bearer(headers):
            by, verify = self._jwt, self._jwt.authenticate
            principal = await verify(presented)
        else:
            by, principal = self._keys, await self._keys.authenticate(presented, client=self._boundary.payer_of(scope))
        if not isinstance(principal, Principal):
            raise TypeError("authenticate() has returned something else than a Principal")
        # Only where the key is judged: further in, a router may have cut its mount off the path.
        self._boundary.check(principal, scope)
        if principal.limits is not None and by is self._keys:
            principal, send = await self._limited(principal, presented, scope, send)
        if since is None:
            return principal, by, send, None
        return principal, by, send, Admitted(principal=principal, presented=presented, since=since, verify=verify)

    def _look_before(self, scope: Scope) -> Sight | None:
        """Return what is known before a key is judged, if its connection is to be watched."""
        live, connections = self._live, self._connections
        if live is None or connections is None or not (live.streams or scope["type"] == "websocket"):
            return None
        return connections.look()

    def _inherited(self, outer: Admission | None) -> tuple[Principal | None, Keys | TokenVerifier]:
        """The principal that a layer further out has found by the same keys or tokens, and by which; else None."""
        if outer is not None and (outer[0] is self._keys or (self._jwt is not None and outer[0] is self._jwt)):
            return outer[1], outer[0]
        return None, self._keys

    async def _refuse(self, reason: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        guardable(scope)
        claimed_state(scope, self._state_key, self._lifespan_states)
        if isinstance(reason, LimitExceeded):
            send = telling(send, reason.readings)
        token = CURRENT.set(None)
        try:
            await self._refusals.refuse(reason, scope, receive, send)
        finally:
            CURRENT.reset(token)


def _restore(scope: Scope, outer: Admission | None, outer_live: Connection | None) -> None:
    """Leave the ASGI scope as the layer further out, or nobody, had it: a verdict must not outlive its request."""
    for name, value in ((ADMISSION, outer), (LIVE, outer_live)):
        if value is None:
            scope.pop(name, None)
        else:
            scope[name] = value


def _snapshot(scope: Scope, outer: Admission | None) -> Headers:
    """The header lines as they are now. uvicorn with httptools adds trailers to its own list, even while we run."""
    headers: Headers = scope["headers"]
    # The other layer's list is a copy already, and recognisable as the one that was judged.
    return headers if outer is not None and headers is outer[2] else list(headers)
