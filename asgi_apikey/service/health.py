"""Whether the process lives, and whether it can decide about keys. Neither answer tells a stranger any details."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from starlette.responses import JSONResponse

from asgi_apikey.asgi.types import ASGIApp, Receive, Scope, Send
from asgi_apikey.errors import ConfigurationError, Undecidable
from asgi_apikey.keyformat import KEY_ID_LENGTH
from asgi_apikey.models import KeyRecord
from asgi_apikey.singleflight import SingleFlight

_log = logging.getLogger("asgi_apikey")

_NOBODYS_KEY: Final = "0" * KEY_ID_LENGTH
_HEADERS: Final = {"cache-control": "no-store"}


class Reads(Protocol):
    """The part of a repository that is tried."""

    async def get(self, key_id: str) -> KeyRecord | None:
        """Return the record with this key id."""
        ...


class Liveness:
    """Answers 200: the process is there. Asks nobody, so a store that is away does not get it restarted."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await _answer(scope, 200, "healthy")(scope, receive, send)


class Readiness:
    """Answers 200 if the store answers what every look-up asks it, else 503.

    Strangers may ask, so the store is asked once for all who ask at one time.

    Args:
        repository: The store.
    """

    def __init__(self, repository: Reads) -> None:
        self._repository = repository
        self._flights: SingleFlight[str, bool] = SingleFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ready = await self._flights.run(_NOBODYS_KEY, self._answers)
        answer = _answer(scope, 200, "ready") if ready else _answer(scope, 503, "unavailable")
        await answer(scope, receive, send)

    async def _answers(self) -> bool:
        try:
            await self._repository.get(_NOBODYS_KEY)
        except (Undecidable, ConfigurationError) as error:
            _log.info("not ready: %s", error, extra={"event": "not_ready"})
            return False
        return True


def _answer(scope: Scope, status: int, word: str) -> ASGIApp:
    if scope["method"] not in ("GET", "HEAD"):
        return JSONResponse({"title": "Method not allowed", "status": 405}, 405, {**_HEADERS, "allow": "GET, HEAD"})
    headers = _HEADERS if status == 200 else {**_HEADERS, "retry-after": "1"}
    return JSONResponse({"status": word}, status, headers)
