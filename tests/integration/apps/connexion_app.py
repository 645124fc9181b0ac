"""A Connexion application, wrapped. Connexion knows no WebSockets."""

from __future__ import annotations

from typing import Any

from connexion import AsyncApp, request
from connexion.exceptions import Forbidden

from asgi_apikey import APIKeyMiddleware, get_api_key
from tests.integration.apps.counter import OPEN_PATH, CallCounter
from tests.integration.apps.settings import keys_from_environment


async def whoami() -> dict[str, str]:
    """Say who is calling."""
    principal = request.state.api_key
    return {"owner": principal.owner, "name": principal.name}


def health() -> dict[str, bool]:
    """Answer anybody, from a thread."""
    return {"anonymous": get_api_key() is None}


async def orders() -> dict[str, list[str]]:
    """Answer those who may read orders."""
    if "orders:read" not in get_api_key(request).scopes:
        raise Forbidden
    return {"orders": []}


def _operation(name: str) -> dict[str, Any]:
    return {"get": {"operationId": f"{__name__}.{name}", "responses": {"200": {"description": "OK"}}}}


def create() -> APIKeyMiddleware:
    """Return the application as it is served."""
    app = AsyncApp(__name__)
    paths = {"/": _operation("whoami"), OPEN_PATH: _operation("health"), "/orders": _operation("orders")}
    app.add_api({"openapi": "3.0.3", "info": {"title": "Shop", "version": "1"}, "paths": paths})
    return APIKeyMiddleware(CallCounter(app), keys=keys_from_environment(), exempt=(OPEN_PATH,))
