"""Both systems answer, one decides, and where they differ is logged: to be sure before switching over.

app = APIKeyMiddleware(app, keys=Shadow(keys, ask_them), live=None)       # theirs decides
app = APIKeyMiddleware(app, keys=Shadow(keys, ask_them, decides="ours"))  # ours does
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias

import anyio

from asgi_apikey.asgi.connections import Connections
from asgi_apikey.asgi.types import RequestLimiter
from asgi_apikey.errors import APIKeyError, AuthenticationError, ConfigurationError, StoreUnavailable, UnknownKey
from asgi_apikey.models import Principal, Seconds
from asgi_apikey.tracebacks import described

_log = logging.getLogger("asgi_apikey")

_LOGGED: Final = 1_000
_PATIENCE: Final[Seconds] = 2.0

Theirs: TypeAlias = Callable[[bytes], Awaitable[Principal | None]]
"""From a presented key to whom it speaks for there; None: it is refused there. Raises when that cannot be told."""

Answer: TypeAlias = Principal | APIKeyError


class ShadowedKeys(Protocol):
    """What is asked of ours; `APIKeys` has it."""

    @property
    def lifespan_states(self) -> dict[int, object]:
        """See `asgi.types.Keys`."""
        ...

    @property
    def limiter(self) -> RequestLimiter:
        """See `asgi.types.Keys`."""
        ...

    @property
    def connections(self) -> Connections:
        """Who watches over connections that stay open."""
        ...

    def authenticate_nowait(self, presented: bytes) -> Principal | None:
        """See `asgi.types.Keys`."""
        ...

    async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
        """See `asgi.types.Keys`."""
        ...

    async def reaffirm(self, presented: bytes, *, client: str | None = None) -> Principal:
        """See `asgi.types.Keys`."""
        ...

    async def open(self) -> None:
        """See `asgi.types.Keys`."""
        ...

    async def close(self) -> None:
        """See `asgi.types.Keys`."""
        ...


class Shadow:
    """Stands in for an `APIKeys` in the middleware, and asks another system, too.

    While theirs decides, what ours says changes no answer, and neither does its failure. While ours decides, they are
    asked about keys that are not in memory, and their failure changes nothing.

    Args:
        keys: Ours.
        theirs: Asks the other system. What it raises, or does not say in time, is an answer of 503 while it decides.
        decides: Whose word counts.
        patience: Seconds they have to answer.

    Attributes:
        differences: How often they differed, by what was said: `theirs accepts, ours: unknown`.
        agreed: How often they did not.

    Raises:
        ConfigurationError: `decides` is neither, or the patience is not positive.
    """

    def __init__(
        self,
        keys: ShadowedKeys,
        theirs: Theirs,
        *,
        decides: Literal["theirs", "ours"] = "theirs",
        patience: Seconds = _PATIENCE,
    ) -> None:
        if decides not in ("theirs", "ours"):
            raise ConfigurationError("decides must be 'theirs' or 'ours'")
        if not 0 < patience < float("inf"):
            raise ConfigurationError("patience must be positive, finite seconds, such as patience=2.0")
        self._keys = keys
        self._theirs = theirs
        self._ours_decides = decides == "ours"
        self._patience = patience
        self.differences: Counter[str] = Counter()
        self.agreed = 0

    @property
    def lifespan_states(self) -> dict[int, object]:
        """Those of ours."""
        return self._keys.lifespan_states

    @property
    def limiter(self) -> RequestLimiter:
        """That of ours."""
        return self._keys.limiter

    @property
    def connections(self) -> Connections | None:
        """That of ours, if ours decides; else None: the middleware then needs `live=None`."""
        return self._keys.connections if self._ours_decides else None

    def authenticate_nowait(self, presented: bytes) -> Principal | None:
        """Return what ours remembers, if ours decides."""
        return self._keys.authenticate_nowait(presented) if self._ours_decides else None

    async def authenticate(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Return the principal that the one who decides says.

        Raises:
            AuthenticationError: The one who decides refuses it.
            Undecidable: The one who decides cannot tell.
        """
        answers: dict[str, Answer] = {}

        async def ask(name: str, work: Callable[[], Awaitable[Principal]]) -> None:
            answers[name] = await _answer(work)

        async with anyio.create_task_group() as asking:
            asking.start_soon(ask, "ours", partial(self._keys.authenticate, presented, client=client))
            asking.start_soon(ask, "theirs", partial(self._ask_them, presented))
        self._compare(answers["theirs"], answers["ours"])
        if not self._ours_decides:
            return _given(answers["theirs"])
        # They may have taken their time: the last look is repeated, and nothing is awaited after it.
        _given(answers["ours"])
        return await self._keys.reaffirm(presented, client=client)

    async def reaffirm(self, presented: bytes, *, client: str | None = None) -> Principal:
        """Ask the one who decides again, for a request that had to wait since."""
        if self._ours_decides:
            return await self._keys.reaffirm(presented, client=client)
        return await self._ask_them(presented)

    async def open(self) -> None:
        """Open ours."""
        await self._keys.open()

    async def close(self) -> None:
        """Close ours."""
        await self._keys.close()

    async def _ask_them(self, presented: bytes) -> Principal:
        try:
            with anyio.fail_after(self._patience):
                principal = await self._theirs(presented)
        except Exception as error:
            # Denies the request, if they decide. Not chained: its text may quote the presented key.
            _log.warning(
                "the other system could not be asked: %s",
                described(error, frames=1),
                extra={"event": "shadow_unanswered"},
            )
            raise StoreUnavailable("the other system does not answer") from None
        if principal is None:
            raise UnknownKey
        return principal

    def _compare(self, theirs: Answer, ours: Answer) -> None:
        said = f"theirs {_said(theirs)}, ours {_said(ours)}"
        both = [isinstance(each, Principal) for each in (theirs, ours)]
        undecided = any(not isinstance(each, Principal | AuthenticationError) for each in (theirs, ours))
        if both[0] == both[1] and not undecided and not _other_owner(theirs, ours):
            self.agreed += 1
            return
        if _other_owner(theirs, ours):
            said = "both accept, as keys of different owners"
        self.differences[said] += 1
        # Bounded: where a route is open to all, strangers make differences.
        if self.differences.total() <= _LOGGED:
            _log.warning(
                "shadow: %s (key %s)",
                said,
                _key_id(ours) or _key_id(theirs) or "unknown",
                extra={"event": "shadow_difference"},
            )


async def _answer(work: Callable[[], Awaitable[Principal]]) -> Answer:
    try:
        return await work()
    except APIKeyError as error:
        return error


def _given(answer: Answer) -> Principal:
    if isinstance(answer, Principal):
        return answer
    raise answer


def _said(answer: Answer) -> str:
    if isinstance(answer, Principal):
        return "accepts"
    return f"refuses: {getattr(answer, 'reason', answer.code)}"


def _other_owner(theirs: Answer, ours: Answer) -> bool:
    return isinstance(theirs, Principal) and isinstance(ours, Principal) and theirs.owner != ours.owner


def _key_id(answer: Answer) -> str | None:
    return answer.key_id if isinstance(answer, Principal) else getattr(answer, "key_id", None)
