"""All frameworks in one process: `/starlette/…` is the Starlette application, and so on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Final

from asgi_apikey.asgi.types import ASGIApp, Message, Receive, Scope, Send

FRAMEWORKS: Final = (
    "starlette",
    "fastapi",
    "litestar",
    "quart",
    "blacksheep",
    "django",
    "falcon",
    "sanic",
    "connexion",
)


def create() -> ASGIApp:
    """Return the application that holds all others, each guarded by itself."""
    return Everywhere({name: import_module(f"tests.integration.apps.{name}_app").create() for name in FRAMEWORKS})


class Everywhere:
    """Takes the first segment off the path and leaves the rest of the ASGI scope as the server made it.

    What servers do differently, such as `root_path`, arrives inside as it is.

    Args:
        apps: By first segment.
    """

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        root: str = scope.get("root_path") or ""
        name = scope["path"].removeprefix(root).split("/")[1]
        inside = {**scope, "path": scope["path"].replace(f"/{name}", "", 1) or "/"}
        if scope.get("raw_path"):
            inside["raw_path"] = scope["raw_path"].replace(f"/{name}".encode(), b"", 1) or b"/"
        await self._apps[name](inside, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        lives = [_Life(app, scope) for app in self._apps.values()]
        for kind in ("startup", "shutdown"):
            await receive()
            for life in lives:
                await life.tell(kind)
            await send({"type": f"lifespan.{kind}.complete"})


class _Life:
    """The lifespan of one of the applications."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self._task = asyncio.ensure_future(app({**scope}, self._incoming.get, self._outgoing.put))

    async def tell(self, kind: str) -> None:
        """Say that the server starts or stops, and wait until the application has done so, too."""
        await self._incoming.put({"type": f"lifespan.{kind}"})
        answer = await self._outgoing.get()
        assert answer["type"] == f"lifespan.{kind}.complete", answer
