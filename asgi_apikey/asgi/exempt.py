"""Paths that need no key: exact ones and whole subtrees, in one plain spelling each.

Everything is protected unless it is listed, because frameworks serve one handler under many spellings
(`//admin`, `/ADMIN`, `/a%64min`, `http://host/admin`): a list of protected paths can be walked around, a list of
exempt ones cannot, as long as an odd spelling is never exempt.
"""

from __future__ import annotations

from collections.abc import Collection

from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.paths import is_plain, is_plainly_escaped, whole_path


class ExemptPaths:
    """Decides whether a request's path is one of the listed ones.

    Args:
        paths: `"/health"` matches itself alone; `"/static/*"` matches everything below `/static/`, not `/static`.
            Case-sensitive, and relative to where the application is mounted.

    Raises:
        ConfigurationError: A path could never match, or would match everything.
    """

    def __init__(self, paths: Collection[str]) -> None:
        for path in paths:
            _check(path)
        self._exact = frozenset(path for path in paths if not path.endswith("/*"))
        self._subtrees = tuple(path.removesuffix("*") for path in paths if path.endswith("/*"))

    def matches(self, scope: Scope) -> bool:
        """Whether the request's path is exempt.

        A path in any unusual spelling never is, nor one that is not what was asked for: Litestar takes mounts off the
        path before its middleware sees it, and `/mounted/health` must not be `/health`.
        """
        path = _route_path(scope)
        if path not in self._exact and not path.startswith(self._subtrees):
            return False
        whole = whole_path(scope["path"], scope.get("raw_path"), scope.get("root_path") or "")
        return whole is not None and is_plain(path) and is_plain(whole) and is_plainly_escaped(scope.get("raw_path"))


def _route_path(scope: Scope) -> str:
    """The path that the router inside looks at: without `root_path`, if that is a prefix of whole segments.

    Source: Starlette's `get_route_path`. Servers differ: uvicorn puts `root_path` in front of `path`, the others
    leave `path` alone, so a path that does not begin with it is routed as it is.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path") or ""
    rest = path[len(root_path) :]
    return rest if path.startswith(root_path) and rest.startswith("/") else path


def _check(path: object) -> None:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigurationError(f"exempt path {path!r} does not start with '/'; write '/health' or '/static/*'")
    if path == "/*":
        raise ConfigurationError("exempt='/*' would protect nothing; list the paths, or use required=False")
    stem = path[:-1] if path.endswith("/*") else path
    if "*" in stem:
        raise ConfigurationError(f"exempt path {path!r}: '*' stands for whole segments at the end; write '/static/*'")
    if not is_plain(stem):
        raise ConfigurationError(
            f"exempt path {path!r} can never match: no '//', dot segments, escapes, '?', '#', ';' or '\\'; "
            "write the decoded path in its plain spelling"
        )
