"""Wake-ups and acknowledgements over a line to some server: all of a bus but the server.

Nothing here is needed for safety. What gets lost, comes late or was made up costs time or one look at the feed; only a
letter under our seal that answers a call of ours makes a revoke return before the leases end.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.invalidation.letters import ID_LENGTH, Ack, Letter, Seal, Wake
from asgi_apikey.invalidation.line import Connect, Line, LineLost, LineUseless
from asgi_apikey.models import Acknowledgement, Seconds
from asgi_apikey.perloop import PerLoop
from asgi_apikey.protocols import CatchUp

_log = logging.getLogger("asgi_apikey")

_QUIET: Final[Seconds] = 0.4
"""Silence after which the server is asked whether it is there. With the time it has to answer, a dead one is found out
within a second."""
_FIRST_PAUSE: Final[Seconds] = 0.05
_LONGEST_PAUSE: Final[Seconds] = 1.0
_HOPELESS_PAUSE: Final[Seconds] = 30.0
_FIRST_REPEAT: Final[Seconds] = 0.1
_LONGEST_REPEAT: Final[Seconds] = 1.0
_PER_LOOK: Final[Seconds] = 0.005
_LOOKS_AT_ONCE: Final = 100
"""At most 200 looks at the feed in a second, and 100 more at once, however many old wake-ups are repeated to us."""
_MOST_UNANSWERED: Final = 1_000
_PATIENCE_ON_CLOSE: Final[Seconds] = 5.0


@dataclass(slots=True)
class _Call:
    """One wake-up of ours, and who has not answered yet."""

    seq: int
    missing: set[str]
    answered: set[str] = field(default_factory=set)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Exchange:
    """A `Bus` over a server that passes texts on. Each event loop has a line of its own; asyncio only.

    Who gets a line, or gets one again, looks at the feed: something may have been missed. Wake-ups are repeated,
    less and less often, until all have answered or the caller's patience ends.

    Args:
        connect: Opens a line.
        seal: What the workers have in common; whoever has another one hears nothing of us.
        kind: What the name starts with, and what log messages call it.
    """

    counter: Sequence[int] = (0,)

    def __init__(self, connect: Connect, seal: Seal, *, kind: str) -> None:
        self._name = f"{kind}:{seal.name}"
        self._connect = connect
        self._places = PerLoop(lambda: _Place(connect, seal, kind), _discard)

    @property
    def name(self) -> str:
        """See `Bus.name`. It stays the same while the server is away: a new one would make every worker start over."""
        return self._name

    async def open(self, catch_up: CatchUp) -> None:
        """See `Bus.open`. Returns at once; the line is opened in the background, and again whenever it is lost."""
        self._places.here().listen(catch_up)

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        """See `Bus.wake`."""
        return await self._places.here().wake(seq, workers, patience=patience)

    async def check(self) -> None:
        """Open a line and close it again. A server that is out of reach now is no error.

        Raises:
            ConfigurationError: There never will be a line to this server.
        """
        try:
            line = await self._connect(secrets.token_bytes(ID_LENGTH))
        except LineUseless as error:
            raise ConfigurationError(str(error)) from error
        except LineLost:
            return
        await line.close()

    async def close(self) -> None:
        """See `Bus.close`."""
        here = asyncio.get_running_loop()
        for loop, place in self._places.take_all().items():
            if loop is here:
                await place.close()
            else:
                _discard(loop, place)


class _Place:
    """What one event loop has: its line, its calls, and the wake-ups that it has not answered yet."""

    def __init__(self, connect: Connect, seal: Seal, kind: str) -> None:
        self._connect = connect
        self._seal = seal
        self._kind = kind
        self._inbox = secrets.token_bytes(ID_LENGTH)
        self._line: Line | None = None
        self._up = asyncio.Event()
        self._calls: dict[bytes, _Call] = {}
        self._woken = asyncio.Event()
        self._unanswered: dict[bytes, Wake] = {}
        self._catch_up: CatchUp = _nothing
        self._living: asyncio.Task[None] | None = None
        self._complained = False

    def listen(self, catch_up: CatchUp) -> None:
        self._catch_up = catch_up
        if self._living is None or self._living.done():
            self._living = asyncio.get_running_loop().create_task(self._live())

    async def wake(self, seq: int, workers: Collection[str], *, patience: Seconds) -> Collection[str]:
        wake = Wake(seq, secrets.token_bytes(ID_LENGTH), self._inbox, answer=bool(workers))
        if not workers:
            if self._up.is_set():
                await self._send(wake, None)
            return ()
        call = self._calls[wake.call] = _Call(seq, set(workers))
        try:
            async with asyncio.timeout(patience):
                await self._repeat(wake, call)
        except TimeoutError:
            pass
        finally:
            del self._calls[wake.call]
        return call.answered

    async def close(self) -> None:
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living}, timeout=_PATIENCE_ON_CLOSE)

    def cancel(self) -> None:
        if self._living is not None:
            self._living.cancel()

    async def _repeat(self, wake: Wake, call: _Call) -> None:
        """Send a wake-up until everybody has answered it."""
        pause = _FIRST_REPEAT
        while not call.complete.is_set():
            await self._up.wait()
            await self._send(wake, None)
            try:
                async with asyncio.timeout(pause):
                    await call.complete.wait()
            except TimeoutError:
                pause = min(2 * pause, _LONGEST_REPEAT)

    async def _live(self) -> None:
        """Listen and answer until cancelled."""
        answering = asyncio.get_running_loop().create_task(self._keep_answering())
        try:
            # Not in a task group: when a loop ends it cancels every task, and a group would then cancel this one again
            # while it closes its line.
            await self._keep_listening()
        finally:
            answering.cancel()
            # What it belongs to would keep this place alive, and this place it.
            self._catch_up = _nothing

    async def _keep_listening(self) -> None:
        loop = asyncio.get_running_loop()
        pause = _FIRST_PAUSE
        while True:
            began = loop.time()
            try:
                await self._one_line()
            except LineUseless as error:
                self._complain(str(error))
                await asyncio.sleep(_HOPELESS_PAUSE)
            except LineLost as error:
                self._complain(str(error))
            except Exception:
                _log.exception("the %s bus failed", self._kind, extra={"event": "bus_failed"})
            # A server that takes us in and throws us out is not stormed either.
            pause = _FIRST_PAUSE if loop.time() - began > _LONGEST_PAUSE else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause * (0.5 + 0.5 * random.random()))  # noqa: S311 - it spreads them, no more

    async def _one_line(self) -> None:
        """Open a line and listen to it until it is lost."""
        line = await self._connect(self._inbox)
        try:
            self._line = line
            self._up.set()
            self._recovered()
            # Whatever was sent while we had no line, we have not heard.
            self._woken.set()
            while True:
                text = await line.receive(_QUIET)
                if text is None:
                    await line.probe()
                elif (letter := self._seal.read(text)) is not None:
                    self._take(letter)
        finally:
            self._line = None
            self._up.clear()
            await line.close()

    def _take(self, letter: Letter) -> None:
        if isinstance(letter, Ack):
            call = self._calls.get(letter.call)
            if call is not None and letter.seq >= call.seq and letter.worker_id in call.missing:
                call.missing.discard(letter.worker_id)
                call.answered.add(letter.worker_id)
                if not call.missing:
                    call.complete.set()
        elif letter.inbox != self._inbox and len(self._unanswered) < _MOST_UNANSWERED:
            self._unanswered[letter.call] = letter
            self._woken.set()

    async def _keep_answering(self) -> None:
        loop = asyncio.get_running_loop()
        # The generic cell rate algorithm (ITU-T I.371, Annex A): when our looks so far will have been paid for.
        paid_at: Seconds = 0.0
        while True:
            await self._woken.wait()
            await asyncio.sleep(paid_at - loop.time() - _LOOKS_AT_ONCE * _PER_LOOK)
            paid_at = max(paid_at, loop.time()) + _PER_LOOK
            self._woken.clear()
            wakes, self._unanswered = tuple(self._unanswered.values()), {}
            try:
                # One look answers all who have woken us meanwhile.
                applied = await self._catch_up(max((wake.seq for wake in wakes), default=0))
                await self._answer(wakes, applied)
            except LineLost:
                # The others will ask again, if they still want to know.
                pass
            except Exception:
                _log.exception(
                    "a wake-up from the %s bus could not be followed", self._kind, extra={"event": "wake_failed"}
                )

    async def _answer(self, wakes: Sequence[Wake], applied: Acknowledgement) -> None:
        if not applied.worker_id:
            return
        for wake in wakes:
            if wake.answer and wake.seq <= applied.position:
                await self._post(Ack(applied.position, wake.call, applied.worker_id), wake.inbox)

    async def _send(self, letter: Letter, inbox: bytes | None) -> None:
        """Send a letter, or not: whoever waits for the answer sends it again."""
        try:
            await self._post(letter, inbox)
        except LineLost as error:
            self._complain(str(error))

    async def _post(self, letter: Letter, inbox: bytes | None) -> None:
        if self._line is None:
            raise LineLost("there is no line")
        await self._line.send(self._seal.write(letter), inbox)

    def _complain(self, reason: str) -> None:
        if not self._complained:
            _log.warning(
                "the %s bus is out of reach, so changes spread with the leases: %s",
                self._kind,
                reason,
                extra={"event": "bus_lost"},
            )
        self._complained = True

    def _recovered(self) -> None:
        if self._complained:
            _log.warning("the %s bus is back", self._kind, extra={"event": "bus_back"})
        self._complained = False


async def _nothing(seq: int) -> Acknowledgement:
    """Answer for nobody."""
    return Acknowledgement("", 0)


def _discard(loop: asyncio.AbstractEventLoop, place: _Place) -> None:
    """Let go of a loop's line, from any thread. A closed loop has cancelled its tasks, and with them the line."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(place.cancel)
