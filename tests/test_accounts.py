"""What the application says about owners: asked once, remembered, forgotten, and never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from asgi_apikey.accounts import Accounts
from asgi_apikey.errors import APIKeyError, ConfigurationError, StoreUnavailable
from asgi_apikey.frozen import FrozenObject
from tests.fakes import FakeClock, Gate, together, until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]


class Application:
    """Knows a plan for every owner."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.plan = "free"
        self.gate = Gate()
        self.failure: Exception | None = None

    async def resolve(self, owner: str, tenant: str) -> Mapping[str, Any] | None:
        """Say it, with what is true when the question arrives."""
        self.asked.append((owner, tenant))
        plan = self.plan
        await self.gate.passed()
        if self.failure is not None:
            raise self.failure
        return {"plan": plan, "seats": [1]}


@pytest.fixture
def application() -> Application:
    """One that answers at once."""
    return Application()


@pytest.fixture
def clock() -> FakeClock:
    """Stands still."""
    return FakeClock()


@pytest.fixture
def accounts(application: Application, clock: FakeClock) -> Accounts:
    """Answers are good for a minute."""
    return Accounts(application.resolve, clock, ttl=60.0)


async def test_an_answer_is_asked_for_once_and_used_until_it_is_old(
    accounts: Accounts, application: Application, clock: FakeClock
) -> None:
    """Frozen, with the deadline counted from before the question."""
    account = await accounts.of("acme", "eu")
    clock.advance(59.0)

    assert await accounts.of("acme", "eu") is account
    assert account.deadline == 1_060.0
    assert account.facts == {"plan": "free", "seats": (1,)}
    assert isinstance(account.facts, FrozenObject)
    clock.advance(1.0)
    assert await accounts.of("acme", "eu") is not account
    assert application.asked == [("acme", "eu")] * 2


async def test_those_who_ask_at_once_share_one_question(accounts: Accounts, application: Application) -> None:
    """Two tenants of one owner are two questions."""
    application.gate.shut()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(accounts.of, "acme", "eu")
        group.start_soon(accounts.of, "acme", "us")
        await until(lambda: application.gate.waiting == 2)
        application.gate.open()

    assert sorted(application.asked) == [("acme", "eu"), ("acme", "us")]


async def test_forgotten_is_asked_anew(accounts: Accounts, application: Application) -> None:
    """In all tenants or in one; other owners are left alone."""
    for tenant in ("eu", "us"):
        await accounts.of("acme", tenant)
    await accounts.of("other", "eu")
    application.asked.clear()

    accounts.forget("acme", "eu")
    for owner, tenant in (("acme", "eu"), ("acme", "us"), ("other", "eu")):
        await accounts.of(owner, tenant)
    assert application.asked == [("acme", "eu")]
    accounts.forget("acme")
    for owner, tenant in (("acme", "eu"), ("acme", "us"), ("other", "eu")):
        await accounts.of(owner, tenant)
    assert application.asked[1:] == [("acme", "eu"), ("acme", "us")]


async def test_an_answer_on_its_way_when_its_owner_is_forgotten_is_not_used(
    accounts: Accounts, application: Application
) -> None:
    """The question may have been answered with what was true before."""
    application.gate.shut()
    plans = []

    async def ask() -> None:
        plans.append(((await accounts.of("acme", "")).facts or {})["plan"])

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
        await until(lambda: application.gate.waiting)
        application.plan = "pro"
        accounts.forget("acme")
        application.gate.open()

    assert plans == ["pro"] * 3
    assert len(application.asked) == 2


@pytest.mark.parametrize("failure", [RuntimeError("secret"), KeyError("x"), ConfigurationError("no")])
async def test_a_failure_is_undecided_shared_and_not_remembered(
    accounts: Accounts, application: Application, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """503, never 401; whoever waits does not ask one after the other; the text of the error is not logged."""
    application.failure = failure
    application.gate.shut()
    outcomes: list[object] = []

    async def ask() -> None:
        outcomes.extend(await together(lambda: accounts.of("acme", "")))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
        await until(lambda: application.gate.waiting)
        application.gate.open()

    assert all(type(outcome) is StoreUnavailable for outcome in outcomes)
    assert len(application.asked) == 1
    assert "secret" not in caplog.text
    application.failure = None
    assert (await accounts.of("acme", "")).facts is not None


@pytest.mark.parametrize("answer", ["text", 7, ["x"], {"x": object()}])
async def test_an_answer_that_is_no_json_object_is_a_failure(clock: FakeClock, answer: object) -> None:
    """It would be shared by all requests of the owner, so it has to be a value."""

    async def resolve(owner: str, tenant: str) -> Any:
        return answer

    with pytest.raises(StoreUnavailable):
        await Accounts(resolve, clock, ttl=60.0).of("acme", "")


async def test_nothing_is_an_answer(clock: FakeClock) -> None:
    """An owner of whom nothing is known has no account, and may come in."""

    async def resolve(owner: str, tenant: str) -> None:
        return None

    assert (await Accounts(resolve, clock, ttl=60.0).of("acme", "")).facts is None


async def test_a_slow_answer_is_a_failure(application: Application, clock: FakeClock) -> None:
    """The request is answered in time, whatever the application does."""
    application.gate.shut()
    accounts = Accounts(application.resolve, clock, ttl=60.0, patience=0.01)

    with pytest.raises(StoreUnavailable):
        await accounts.of("acme", "")


@pytest.mark.parametrize(
    "arguments", [{"ttl": 0.0}, {"ttl": float("nan")}, {"ttl": float("inf")}, {"ttl": 1, "size": 0}]
)
async def test_what_makes_no_sense_is_refused(clock: FakeClock, arguments: dict[str, Any]) -> None:
    """When it is wired."""
    with pytest.raises(APIKeyError, match="owner_ttl"):
        Accounts(Application().resolve, clock, **arguments)
    with pytest.raises(ConfigurationError, match="resolve_owner"):
        Accounts("function", clock, ttl=1.0)  # type: ignore[arg-type]
