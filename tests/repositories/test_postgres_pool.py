"""The pool, without a server: who gets which session, and what becomes of those that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.repositories.postgres.pool import Pool
from asgi_apikey.repositories.postgres.session import Session

pytestmark = pytest.mark.anyio


class FakeSession:
    """Stands in for a connection."""

    def __init__(self) -> None:
        self.rested = False
        self.idle_since = 0.0
        self.reusable = True

    def terminate(self) -> None:
        """Break."""
        self.reusable = False

    async def close(self, *, patience: float) -> None:
        """Break, politely."""
        self.reusable = False


class Door:
    """Where sessions come from: one at a time, when the test says so."""

    def __init__(self) -> None:
        self.attempts = 0
        self.opened: list[Session] = []
        self._answers: asyncio.Queue[FakeSession | StoreUnavailable] = asyncio.Queue()

    async def connect(self) -> Session:
        """Wait for what the test decides."""
        self.attempts += 1
        answer = await self._answers.get()
        if isinstance(answer, StoreUnavailable):
            raise answer
        session = cast(Session, answer)
        self.opened.append(session)
        return session

    def let_in(self, count: int = 1) -> None:
        """Let the next attempts succeed."""
        for _ in range(count):
            self._answers.put_nowait(FakeSession())

    def shut(self) -> None:
        """Let the next attempt fail."""
        self._answers.put_nowait(StoreUnavailable("nobody home"))


@pytest.fixture
async def door() -> Door:
    """A door to which the pool of the test leads."""
    return Door()


@pytest.fixture
async def pool(door: Door) -> Pool:
    """A pool of two that keeps what it has."""
    return Pool(door.connect, size=2, longest_idle=60.0)


async def turns(true: Callable[[], bool] = lambda: False, *, most: int = 20) -> None:
    """Let everybody else do what they can."""
    for _ in range(most):
        if true():
            return
        await asyncio.sleep(0)


async def test_a_session_is_opened_when_it_is_needed_and_kept(pool: Pool, door: Door) -> None:
    """The first taker has one opened, the next gets the same, and it has rested meanwhile."""
    door.let_in()
    first = await pool.take()
    fresh = first.rested
    pool.give_back(first)
    second = await pool.take()

    assert second is first
    assert (fresh, second.rested) == (False, True)
    assert (door.attempts, pool.sessions, pool.in_use) == (1, 1, 1)


async def test_one_is_opened_at_a_time_and_no_more_than_fit(pool: Pool, door: Door) -> None:
    """Ten who wait cause one attempt, then another, and never a third beside two that are open."""
    takers = [asyncio.ensure_future(pool.take()) for _ in range(10)]
    await turns()
    assert door.attempts == 1
    door.let_in(5)
    await turns()

    assert door.attempts == 2
    assert sum(taker.done() for taker in takers) == 2
    for taker in takers:
        taker.cancel()


async def test_who_waits_gets_what_is_given_back_in_order(pool: Pool, door: Door) -> None:
    """A session goes from hand to hand, first come, first served, without waiting for another to be opened."""
    door.let_in()
    held = await pool.take()
    first, second = asyncio.ensure_future(pool.take()), asyncio.ensure_future(pool.take())
    await turns()
    pool.give_back(held)
    await turns()

    assert first.result() is held
    assert not second.done()
    second.cancel()


async def test_a_failed_attempt_is_told_to_those_it_was_made_for(pool: Pool, door: Door) -> None:
    """All who waited when it began hear of it at once; who came later causes another attempt."""
    early = [asyncio.ensure_future(pool.take()) for _ in range(3)]
    await turns(lambda: door.attempts == 1)
    late = asyncio.ensure_future(pool.take())
    await turns()
    door.shut()
    await turns(lambda: door.attempts == 2)
    door.let_in()
    outcomes = await asyncio.gather(*early, return_exceptions=True)

    assert [str(outcome) for outcome in outcomes] == ["nobody home"] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert (await late) in door.opened


async def test_a_cancelled_taker_loses_nothing(pool: Pool, door: Door) -> None:
    """Cancelled in the very turn in which it is handed a session, a taker passes it on."""
    door.let_in()
    held = await pool.take()
    cancelled, next_ = asyncio.ensure_future(pool.take()), asyncio.ensure_future(pool.take())
    await turns()
    pool.give_back(held)
    cancelled.cancel()
    await turns()

    assert cancelled.cancelled()
    assert next_.result() is held
    assert pool.in_use == 1


async def test_an_opened_session_nobody_waits_for_any_more_is_kept(pool: Pool, door: Door) -> None:
    """The attempt goes on when its taker is cancelled, and the next one profits."""
    taker = asyncio.ensure_future(pool.take())
    await turns(lambda: door.attempts == 1)
    taker.cancel()
    door.let_in()
    await turns()

    assert (pool.sessions, pool.in_use) == (1, 0)
    assert (await pool.take()) is door.opened[0]


async def test_a_broken_session_is_replaced(pool: Pool, door: Door) -> None:
    """One that breaks in use, or at rest, is never handed out again."""
    door.let_in(2)
    broken = await pool.take()
    broken.terminate()
    pool.give_back(broken)
    other = await pool.take()
    pool.give_back(other)
    other.terminate()
    door.let_in()
    third = await pool.take()

    assert len({id(broken), id(other), id(third)}) == 3
    assert pool.sessions == 1


async def test_idle_sessions_grow_old_and_are_closed(door: Door) -> None:
    """The one used last is used first, so the others are the ones that firewalls would forget."""
    pool = Pool(door.connect, size=2, longest_idle=60.0)
    door.let_in(2)
    first, second = await asyncio.gather(pool.take(), pool.take())
    pool.give_back(first)
    pool.give_back(second)
    first.idle_since -= 61.0

    assert await pool.take() is second
    assert not first.reusable
    assert pool.sessions == 1


async def test_a_closed_pool_keeps_nothing(pool: Pool, door: Door) -> None:
    """Idle sessions are closed now, those in use when they are given back, and an attempt under way is ended."""
    door.let_in(1)
    held = await pool.take()
    waiting = asyncio.ensure_future(pool.take())
    await turns(lambda: door.attempts == 2)
    await pool.close(patience=1.0)
    pool.give_back(held)
    served = await waiting
    pool.give_back(served)

    assert served is held
    assert not held.reusable
    assert (pool.sessions, pool.in_use) == (0, 0)
