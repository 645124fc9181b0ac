"""Where the principal of a request is put, and how it is read back.

In three places, each for its own readers: `scope["state"]` for handlers, a context variable for code that cannot
reach the ASGI scope (the only way behind a WSGI bridge), and a private entry of the ASGI scope for our own layers
further in. A header can reach none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Protocol, TypeAlias

from asgi_apikey.asgi.refusals import Refusals
from asgi_apikey.asgi.types import Headers, Keys, Scope, TokenVerifier
from asgi_apikey.models import Principal

ADMISSION = "asgi_apikey.admission"
"""The private entry of the ASGI scope. It is there only while the application inside runs."""

Admission: TypeAlias = tuple[Keys | TokenVerifier, Principal | None, Headers, Refusals]
"""Who admitted whom, judging by which list of headers, and who answers when a layer further in refuses.

A plain tuple, because it is made for every request: a NamedTuple costs seven times as much.
"""

CURRENT: ContextVar[Principal | None] = ContextVar("asgi_apikey.principal", default=None)
"""The principal of the request that the running code serves."""


class HasScope(Protocol):
    """A request or websocket of any framework that shows its ASGI scope."""

    @property
    def scope(self) -> Mapping[str, object]:
        """The ASGI scope."""
        ...


def get_api_key(
    source: HasScope | Mapping[str, object] | None = None, *, state_key: str = "api_key"
) -> Principal | None:
    """Return the principal of a request, None if it is anonymous: the same line in every framework.

    Args:
        source: A request or websocket object, an ASGI scope, or nothing for the request that is being served.
        state_key: What the middleware was given; of no account without `source`.

    Raises:
        TypeError: `source` is none of these.
    """
    if source is None:
        return CURRENT.get()
    # The attribute first: Starlette's requests are mappings too.
    scope = getattr(source, "scope", source)
    if not isinstance(scope, Mapping):
        raise TypeError("get_api_key takes a request, a websocket, an ASGI scope, or nothing")
    state = scope.get("state")
    principal = state.get(state_key) if isinstance(state, Mapping) else None
    return principal if isinstance(principal, Principal) else None


def admission_of(scope: Scope) -> Admission | None:
    """Return what a layer of ours further out has found, or None if there is none."""
    return scope.get(ADMISSION)


def claimed_state(scope: Scope, state_key: str, lifespan_states: dict[int, object]) -> dict[str, object]:
    """Return the state of this very request, with our entry emptied.

    Some hosts give one dictionary to all requests: written in place, 40 of 60 concurrent requests saw somebody
    else's principal. Always copied, what handlers write would not reach the layers outside. So: a new one where there
    is none (Daphne, httpx's transport) or something else (Azure Functions passes None); a copy where it is a
    lifespan's own or somebody has claimed it already; in place otherwise.
    """
    state = scope.get("state")
    if not isinstance(state, dict):
        state = scope["state"] = dict(state) if isinstance(state, Mapping) else {}
    elif state_key in state or id(state) in lifespan_states:
        state = scope["state"] = state.copy()
    state[state_key] = None
    return state
