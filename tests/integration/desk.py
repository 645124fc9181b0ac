"""The other process: it issues and ends keys in the file that the hosts read."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from asgi_apikey import APIKeys
from asgi_apikey.models import Seconds

T = TypeVar("T")


class Desk:
    """Runs the verbs of `keys`, one after the other.

    Args:
        path: The SQLite file.
        pepper: Of the hosts, too.
        cache_ttl: Of the hosts, too.
    """

    def __init__(self, path: Path, pepper: str, *, cache_ttl: Seconds) -> None:
        self.pepper = pepper
        self.keys = APIKeys(f"sqlite:///{path}", pepper=pepper, cache_ttl=cache_ttl)
        self.environ = {
            "ASGI_APIKEY_URL": f"sqlite:///{path}",
            "ASGI_APIKEY_PEPPER": pepper,
            "ASGI_APIKEY_CACHE_TTL": str(cache_ttl),
        }
        self._runner = asyncio.Runner()

    def run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Run one verb to its end."""
        return self._runner.run(verb)

    def init(self) -> None:
        """Make the file, as `asgi-apikey init` does."""
        self.run(self.keys.repository.open(create=True))

    def close(self) -> None:
        """Release the file."""
        self.run(self.keys.close())
        self._runner.close()
