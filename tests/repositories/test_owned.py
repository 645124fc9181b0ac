"""Work that outlives its caller."""

from __future__ import annotations

import asyncio
import gc

import anyio
import pytest

from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.repositories.owned import OwnedTasks, Progress

pytestmark = pytest.mark.anyio


async def test_results_and_errors_reach_the_caller() -> None:
    """What the work returns is returned, what it raises is raised."""

    async def answers(_: Progress) -> int:
        return 42

    async def fails(_: Progress) -> int:
        raise LookupError("mine")

    owned = OwnedTasks()

    assert await owned.run(answers, patience=5, what="it") == 42
    with pytest.raises(LookupError, match="mine"):
        await owned.run(fails, patience=5, what="it")


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("how", ["native", "scope"])
async def test_only_begun_work_outlives_a_cancelled_caller(begun: bool, how: str) -> None:
    """A cancelled caller takes back what has not begun, and lets go on what has; natively and by cancel scope."""
    entered, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(progress: Progress) -> None:
        progress.begun = begun
        entered.set()
        try:
            await release.wait()
        finally:
            ended.set()
        outcome.append("done")

    outcome: list[str] = []
    owned = OwnedTasks()
    if how == "native":
        caller = asyncio.ensure_future(owned.run(work, patience=5, what="it"))
        await entered.wait()
        caller.cancel()
        await asyncio.wait({caller})
    else:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: owned.run(work, patience=5, what="it"))
            await entered.wait()
            group.cancel_scope.cancel()
    release.set()
    await ended.wait()
    await asyncio.sleep(0)

    assert outcome == (["done"] if begun else [])


@pytest.mark.parametrize("begun", [True, False])
async def test_impatience_says_whether_the_outcome_is_known(begun: bool) -> None:
    """Out of patience, work that has begun may yet succeed; other work never will."""

    async def work(progress: Progress) -> None:
        progress.begun = begun
        await asyncio.Event().wait()

    with pytest.raises(StoreUnavailable, match=r"the sum took more than 0\.01 s") as caught:
        await OwnedTasks().run(work, patience=0.01, what="the sum")
    assert caught.value.outcome_unknown is begun


async def test_a_late_error_is_nobodys_business() -> None:
    """An error after the caller has left is not reported as one that nobody fetched."""
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    release = asyncio.Event()

    async def work(progress: Progress) -> None:
        progress.begun = True
        await release.wait()
        raise LookupError("late")

    with pytest.raises(StoreUnavailable):
        await OwnedTasks().run(work, patience=0.01, what="it")
    release.set()
    await asyncio.sleep(0.01)
    gc.collect()

    assert reports == []
