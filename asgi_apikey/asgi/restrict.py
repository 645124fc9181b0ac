"""Where a request comes from and what it is for, as a key's own restrictions see it."""

from __future__ import annotations

from asgi_apikey.asgi.types import Scope
from asgi_apikey.models import Principal
from asgi_apikey.paths import is_plain, is_plainly_escaped

WEBSOCKET = "WEBSOCKET"
"""What stands for the method of a handshake: it is a GET, but what it opens is not for reading alone."""


def check_restrictions(principal: Principal, scope: Scope) -> None:
    """Check that the key may be used from this address, with this method, on this path.

    The address is what the server says. Behind a proxy it is the proxy's, unless the server is told which proxies to
    believe (uvicorn: `--forwarded-allow-ips`): a header that anybody can send is not read here. The path is the whole
    one, with any mount: the one that the client knows.

    Raises:
        NetworkNotAllowed: Not from this address, or from none.
        RouteNotAllowed: Not for this method and path, or the path is in an odd spelling.
    """
    restrictions = principal.restrictions
    if restrictions is None:
        return
    method = WEBSOCKET if scope["type"] == "websocket" else scope["method"]
    refusal = restrictions.refusal(address=address_of(scope), method=method, path=_plain_path(scope))
    if refusal is not None:
        raise refusal


def address_of(scope: Scope) -> str | None:
    """The peer's address; None on a Unix socket. Daphne gives a list, others a tuple."""
    client = scope.get("client")
    address = client[0] if isinstance(client, tuple | list) and client else None
    return address if isinstance(address, str) and address else None


def _plain_path(scope: Scope) -> str | None:
    path: str = scope["path"]
    return path if is_plain(path) and is_plainly_escaped(scope.get("raw_path")) else None
