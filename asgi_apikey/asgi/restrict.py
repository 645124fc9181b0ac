"""Where a request comes from and what it is for, as a key's own restrictions see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from asgi_apikey.asgi.proxies import Proxies, address_of
from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import AuthenticationError, MissingScope, NetworkNotAllowed, OriginNotAllowed, RouteNotAllowed
from asgi_apikey.models import Principal
from asgi_apikey.paths import is_plain, is_plainly_escaped, whole_path

WEBSOCKET = "WEBSOCKET"
"""What stands for the method of a handshake: it is a GET, but what it opens is not for reading alone."""

STAGES: Final = {
    "networks": NetworkNotAllowed,
    "origins": OriginNotAllowed,
    "routes": RouteNotAllowed,
    "scopes": MissingScope,
}
"""What a middleware may only report, by the name of what it would refuse."""

Report: TypeAlias = Callable[[Principal, AuthenticationError], None]
"""Is told who would have been refused, and why; must neither suspend nor raise."""


class Boundary:
    """Holds requests against the restrictions of their keys.

    Args:
        proxies: Who may say whom a request is from; None: nobody, it is from the peer.
        report_only: Names of `STAGES` whose refusals are reported, and not made.
        report: To whom.
    """

    def __init__(self, *, proxies: Proxies | None, report_only: frozenset[str], report: Report) -> None:
        self._proxies = proxies
        self._report_only = report_only
        self._spared = tuple(STAGES[name] for name in sorted(report_only))
        self._report = report

    def check(self, principal: Principal, scope: Scope) -> None:
        """Check that the key may be used from this address and page, with this method, on this path.

        The path is the whole one, with any mount: the one that the client knows.

        Raises:
            NetworkNotAllowed: Not from this address, or it has none, or it is unknown.
            OriginNotAllowed: Not from this web page, or from none.
            RouteNotAllowed: Not for this method and path, or the path is in an odd spelling.
        """
        restrictions = principal.restrictions
        if restrictions is None:
            return
        for refusal in restrictions.refusals(
            address=self.client_of(scope), method=method_of(scope), path=plain_path(scope), origin=origin_of(scope)
        ):
            if not self.spares(principal, refusal):
                raise refusal

    def enforces(self, kind: type[AuthenticationError]) -> bool:
        """Whether refusals of a kind are made."""
        return not issubclass(kind, self._spared)

    def spares(self, principal: Principal, refusal: AuthenticationError) -> bool:
        """Whether a refusal is only to be reported, which is done then."""
        if not isinstance(refusal, self._spared):
            return False
        self._report(principal, refusal)
        return True

    def only_reports(self, stage: str) -> bool:
        """Whether what a stage refuses is only reported."""
        return stage in self._report_only

    def client_of(self, scope: Scope) -> str | None:
        """The client's address; None if it has none, or it is unknown."""
        return address_of(scope) if self._proxies is None else self._proxies.client_of(scope)

    def payer_of(self, scope: Scope) -> str | None:
        """Who pays for failures: the client; where it is unknown the peer, for somebody must."""
        return self.client_of(scope) or address_of(scope)


def check_restrictions(principal: Principal, scope: Scope) -> None:
    """Check that the key may be used for a request that comes from its peer; see `Boundary.check`.

    Behind a proxy the peer is the proxy, unless the server is told which ones to believe (uvicorn:
    `--forwarded-allow-ips`).

    Raises:
        NetworkNotAllowed: Not from this address, or from none.
        OriginNotAllowed: Not from this web page, or from none.
        RouteNotAllowed: Not for this method and path, or the path is in an odd spelling.
    """
    _STRICT.check(principal, scope)


def origin_of(scope: Scope) -> str | None:
    """What the one `Origin` says; None if there is none, or more than one."""
    found = [value for name, value in scope["headers"] if name.lower() == b"origin"]
    return found[0].decode("latin-1") if len(found) == 1 else None


def method_of(scope: Scope) -> str:
    """The method; `WEBSOCKET` for a handshake."""
    method: str = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
    return method


def plain_path(scope: Scope) -> str | None:
    """The whole path, decoded; None if its spelling is odd, or a router has changed it beyond recognition."""
    raw_path = scope.get("raw_path")
    path = whole_path(scope["path"], raw_path, scope.get("root_path") or "")
    return path if path is not None and is_plain(path) and is_plainly_escaped(raw_path) else None


def unreported(principal: Principal, refusal: AuthenticationError) -> None:
    """Tell nobody: nothing is spared."""


_STRICT: Final = Boundary(proxies=None, report_only=frozenset(), report=unreported)
