"""Applications beside the guarded one, each below a path of its own.

Frameworks mount in ways of their own: one rewrites `path`, one answers 307, one cuts off what another adds. Here it is
done once, around all of them, as ASGI has it: `root_path` grows by the prefix, and `path` stays whole.
Source: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
"""

from __future__ import annotations

from collections.abc import Mapping

from asgi_apikey.asgi.closing import POLICY_VIOLATION
from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.paths import is_plain, is_plainly_escaped


class Switch:
    """Sends requests below a prefix to the application that is mounted there, and all others to the main one.

    A prefix is matched by whole segments and in its plain spelling alone. Whatever is spelled oddly (`//api-keys`,
    `/%61pi-keys`, `/x/../api-keys`, `/api-keys/../x`) goes to the main application, so what a proxy in front has
    refused by its path is not reached by another one.

    Mounted applications get HTTP only: WebSockets below a prefix are refused, and lifespans are the main one's.

    Args:
        app: The main application.
        mount: Prefixes, such as `/api-keys`, and what is below each. Where one is within another, the longer one wins.

    Raises:
        ConfigurationError: Something is no application, or a prefix could never match, or would take everything.
    """

    def __init__(self, app: ASGIApp, mount: Mapping[str, ASGIApp]) -> None:
        _check(mount)
        if not callable(app):
            raise ConfigurationError(f"{app!r} is not an ASGI application")
        self.app = app
        self._mounts = tuple((prefix, mount[prefix]) for prefix in sorted(mount, key=len, reverse=True))
        self._prefixes = tuple(mount)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        found = self._found(scope) if scope["type"] in ("http", "websocket") else None
        if found is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await _refuse(receive, send)
        else:
            prefix, mounted = found
            await mounted(_below(scope, prefix), receive, send)

    def _found(self, scope: Scope) -> tuple[str, ASGIApp] | None:
        path: str = scope["path"]
        root_path = _root_path(scope)
        if root_path:
            path = _whole(path, root_path)[len(root_path) :]
        if not path.startswith(self._prefixes):
            return None
        if not (is_plain(path) and is_plainly_escaped(scope.get("raw_path"))):
            return None
        return next((each for each in self._mounts if path == each[0] or path.startswith(each[0] + "/")), None)


def _below(scope: Scope, prefix: str) -> Scope:
    """Return the mounted application's own copy of the ASGI scope.

    What is routed there always starts with `/`: for the prefix alone, routers would redirect to it, and not every
    client sends its body and its credential twice.
    """
    root_path = _root_path(scope)
    path, mounted_at = _whole(scope["path"], root_path), root_path + prefix
    return {**scope, "path": f"{path}/" if path == mounted_at else path, "root_path": mounted_at}


def _whole(path: str, root_path: str) -> str:
    """Return the path with the root path in front, as ASGI has it; some servers leave it out."""
    rest = path[len(root_path) :]
    return path if path.startswith(root_path) and rest[:1] in ("", "/") else root_path + path


def _root_path(scope: Scope) -> str:
    root_path: str = scope.get("root_path") or ""
    return root_path.rstrip("/")


async def _refuse(receive: Receive, send: Send) -> None:
    handshake = await receive()
    if handshake["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": ""})


def _check(mount: object) -> None:
    if not isinstance(mount, Mapping) or not mount:
        raise ConfigurationError("mount maps prefixes to applications: mount={'/api-keys': keys.management(…)}")
    for prefix, mounted in mount.items():
        _check_one(prefix, mounted)


def _check_one(prefix: object, mounted: object) -> None:
    if not callable(mounted):
        raise ConfigurationError(f"mount: {mounted!r} is not an ASGI application; write keys.management(authorise=…)")
    if not isinstance(prefix, str) or not is_plain(prefix) or prefix.endswith("/") or "*" in prefix:
        raise ConfigurationError(
            f"mount: {prefix!r} is not a prefix; write a plain path of one or more segments, such as '/api-keys'"
        )
