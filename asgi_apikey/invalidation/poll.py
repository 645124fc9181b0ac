"""No bus: everybody polls."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from asgi_apikey.models import Seconds
from asgi_apikey.protocols import CatchUp


class NoBus:
    """Wakes nobody. Changes are known everywhere when the leases of before have ended."""

    name: str = ""
    counter: Sequence[int] = (0,)

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`; there is nothing to listen to."""

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`; nobody hears it."""
        return ()

    async def close(self) -> None:
        """See `Bus.close`."""
