"""The facade: how the parts are wired, what is refused while wiring, and the life of an `APIKeys` object."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from functools import partial
from pathlib import Path

import anyio
import pytest

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.authenticator import Limits
from asgi_apikey.errors import (
    ConfigurationError,
    ExpiredKey,
    InvalidRequest,
    KeyNotFound,
    RevokedKey,
    StoreUnavailable,
    UnknownKey,
    WrongEnvironment,
    WrongSecret,
)
from asgi_apikey.hashers.hmac_sha256 import HMACSHA256Hasher, SHA256Hasher
from asgi_apikey.hashers.suite import HasherSuite
from asgi_apikey.models import DAY, Status
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.settings import Settings
from tests.fakes import NOON, FakeClock, Watched, WatchedHasher, until
from tests.wiring import LATER_PEPPER, PEPPER

pytestmark = pytest.mark.anyio

CHECKSUM_KEY = "Zq3vN8sLx0Rb5Tj2"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


# ---- the life of a key, as the README tells it -----------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_issue_let_in_revoke_refuse() -> None:
    """The main road, without any server, on both event loops."""
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        issued = await keys.issue(owner="acme", name="ci", scopes={"orders:read"}, expires_in=90 * DAY)
        principal = await keys.authenticate(issued.key.encode())
        remembered = keys.authenticate_nowait(issued.key.encode())
        receipt = await keys.revoke(issued.record.key_id, by="ada", reason="leaked")

        assert (principal.owner, principal.name, principal.scopes) == ("acme", "ci", {"orders:read"})
        assert remembered is principal
        assert receipt.confirmed
        assert keys.authenticate_nowait(issued.key.encode()) is None
        with pytest.raises(RevokedKey):
            await keys.authenticate(issued.key.encode())


async def test_every_verb_is_there(clock: FakeClock) -> None:
    """Rotate, amend, disable, enable, find, get and delete do through the facade what they do behind it."""
    keys = APIKeys("memory:", pepper=PEPPER, clock=clock)
    issued = await keys.issue(owner="acme", tenant="eu")
    key_id = issued.record.key_id
    rotated = await keys.rotate(key_id, grace=10.0)
    await keys.amend(rotated.record.key_id, name="new")
    await keys.disable(rotated.record.key_id)
    disabled = await keys.find(owner="acme", tenant="eu", environment="live", status=Status.DISABLED, limit=1)
    await keys.enable(rotated.record.key_id)
    await keys.delete(key_id)

    assert [(record.name, record.replaces) for record in disabled.records] == [("new", key_id)]
    assert (await keys.get(rotated.record.key_id)).version == 4
    with pytest.raises(KeyNotFound):
        await keys.get(key_id)


def test_the_verbs_keep_their_signatures_and_documentation() -> None:
    """What `help()` and an editor show for `keys.rotate` is the method's own text."""
    keys = APIKeys("memory:", pepper=PEPPER)

    for verb in (keys.authenticate, keys.rotate, keys.amend, keys.disable, keys.enable, keys.revoke, keys.delete):
        assert inspect.getdoc(verb)
    assert "grace" in inspect.signature(keys.rotate).parameters


async def test_keys_carry_the_prefix_and_the_environment() -> None:
    """Both are settings of the object, and another environment's keys are issued but not accepted."""
    keys = APIKeys("memory:", pepper=PEPPER, prefix="acme", environment="test")
    issued, live = await keys.issue(owner="a"), await keys.issue(owner="a", environment="live")

    assert issued.key.startswith("acme_test_")
    assert (await keys.authenticate(issued.key.encode())).environment == "test"
    with pytest.raises(WrongEnvironment):
        await keys.authenticate(live.key.encode())


async def test_a_checksum_key_turns_forged_keys_away_before_the_store() -> None:
    """Keys issued under it are of version 2, and older ones keep working."""
    store = MemoryRepository()
    before = APIKeys(repository=store, pepper=PEPPER)
    after = APIKeys(repository=store, pepper=PEPPER, checksum_keys=[CHECKSUM_KEY])
    old, new = await before.issue(owner="a"), await after.issue(owner="a")

    assert after.format.parse(new.key.encode()).version == "2"
    assert (await after.authenticate(old.key.encode())).key_id == old.record.key_id
    assert (await after.authenticate(new.key.encode())).key_id == new.record.key_id


@pytest.mark.parametrize("scopes", ["read", None, 5, ["two words"], [None]], ids=repr)
async def test_scopes_that_are_no_collection_of_names_are_refused(scopes: object) -> None:
    """`scopes="read"` would be four scopes of one letter each."""
    keys = APIKeys("memory:", pepper=PEPPER)

    with pytest.raises(InvalidRequest):
        await keys.issue(owner="a", scopes=scopes)  # type: ignore[arg-type]


async def test_a_key_ends_on_the_injected_clock(clock: FakeClock) -> None:
    """Also inside a cache hit."""
    keys = APIKeys("memory:", pepper=PEPPER, clock=clock)
    issued = await keys.issue(owner="a", expires_in=10.0)
    await keys.authenticate(issued.key.encode())
    clock.advance(10.0)

    with pytest.raises(ExpiredKey):
        await keys.authenticate(issued.key.encode())


# ---- what is refused while wiring ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ({}, "either a URL"),
        ({"url": "memory:", "repository": MemoryRepository()}, "either a URL"),
        ({"url": "mysql://host/keys"}, "must start with one of memory:, sqlite:"),
        ({"url": ""}, "must start with one of"),
        ({"url": "sqlite:keys.db"}, "sqlite:///relative"),
        ({"url": "memory:", "pepper": ""}, "asgi-apikey pepper"),
        ({"url": "memory:", "pepper": "short"}, "asgi-apikey pepper"),
        ({"url": "memory:", "pepper": []}, "asgi-apikey pepper"),
        ({"url": "memory:", "pepper": "change-me" * 8}, "asgi-apikey pepper"),
        ({"url": "memory:", "pepper": [PEPPER, PEPPER]}, "leave it out"),
        ({"url": "memory:", "pepper": PEPPER, "hasher": SHA256Hasher()}, "not both"),
        ({"url": "memory:", "pepper": None, "hasher": SHA256Hasher()}, "not both"),
        ({"repository": MemoryRepository()}, "pepper=None"),
        ({"url": "memory:", "prefix": "Acme"}, "such as 'acme'"),
        ({"url": "memory:", "prefix": ""}, "such as 'acme'"),
        ({"url": "memory:", "environment": "Live"}, "environment='live'"),
        ({"url": "memory:", "environment": ""}, "environment='live'"),
        ({"url": "memory:", "environment": "li_ve"}, "environment='live'"),
        ({"url": "memory:", "checksum_keys": CHECKSUM_KEY}, "checksum_keys=[key]"),
        ({"url": "memory:", "checksum_keys": ["short"]}, "asgi-apikey pepper"),
        ({"url": "memory:", "cache_ttl": 0.0}, "cache_ttl=0.001"),
        ({"url": "memory:", "cache_ttl": -1.0}, "cache_ttl=0.001"),
        ({"url": "memory:", "cache_ttl": math.nan}, "cache_ttl=0.001"),
        ({"url": "memory:", "cache_ttl": math.inf}, "cache_ttl=0.001"),
        ({"url": "memory:", "cache_size": 0}, "at least 1"),
        ({"url": "memory:", "usage_interval": 0.0}, "10 seconds"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_unsafe_or_impossible_wiring_is_refused_with_the_fix(arguments: dict[str, object], fix: str) -> None:
    """ConfigurationError at construction, and its message says what to write instead."""
    with pytest.raises(ConfigurationError) as info:
        APIKeys(**arguments)  # type: ignore[arg-type]
    assert fix in str(info.value)


def test_an_unknown_argument_is_refused() -> None:
    """A misspelled safety setting is not silently ignored."""
    with pytest.raises(TypeError, match="cache_tll"):
        APIKeys("memory:", cache_tll=5.0)  # type: ignore[call-arg]


def test_a_refused_url_is_not_repeated() -> None:
    """It may hold a password."""
    with pytest.raises(ConfigurationError) as info:
        APIKeys("mysql://keys:hunter2hunter2@host/keys", pepper=PEPPER)
    assert "hunter2" not in str(info.value)


@pytest.mark.parametrize("url", ["memory:", "sqlite:///keys.db", "sqlite+aiosqlite:///keys.db"])
def test_without_a_pepper_there_is_one_warning(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where nobody else writes to the store digests without pepper are tolerable, and it is said how to do better."""
    APIKeys(url)

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "asgi_apikey"
    assert "asgi-apikey pepper" in record.getMessage()


@pytest.mark.parametrize("pepper", [None, PEPPER, [PEPPER, LATER_PEPPER]], ids=["on purpose", "one", "ring"])
def test_with_a_decision_about_the_pepper_there_is_no_warning(
    pepper: str | list[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """`pepper=None` is a decision as well, for every kind of store."""
    APIKeys("memory:", pepper=pepper)
    APIKeys(repository=MemoryRepository(), pepper=pepper)

    assert caplog.records == []


def test_no_pepper_and_no_checksum_key_stands_in_a_repr() -> None:
    """Neither of the object nor of any part of it, two levels deep."""
    keys = APIKeys("memory:", pepper=PEPPER, checksum_keys=[CHECKSUM_KEY])
    parts = [keys, *vars(keys).values()]
    told = "".join(repr(part) + repr(getattr(part, "__dict__", "")) for part in parts)

    assert PEPPER not in told
    assert CHECKSUM_KEY not in told


def test_nothing_is_opened_or_made_by_the_constructor(tmp_path: Path) -> None:
    """An `APIKeys` may be made at import, before there is an event loop or a store."""
    APIKeys(f"sqlite:///{tmp_path}/keys.db", pepper=PEPPER)

    assert list(tmp_path.iterdir()) == []


# ---- settings --------------------------------------------------------------------------------------------------------


async def test_settings_arrive_at_the_parts_they_are_for() -> None:
    """Every variable of the environment changes what the built object does."""
    keys = APIKeys.from_settings(
        Settings.from_env(
            {
                "ASGI_APIKEY_URL": "memory:",
                "ASGI_APIKEY_PEPPER": f"{PEPPER} {LATER_PEPPER}",
                "ASGI_APIKEY_PREFIX": "acme",
                "ASGI_APIKEY_ENVIRONMENT": "test",
                "ASGI_APIKEY_CHECKSUM_KEY": CHECKSUM_KEY,
                "ASGI_APIKEY_CACHE_TTL": "7",
                "ASGI_APIKEY_SINGLE_PROCESS": "1",
            }
        )
    )
    issued = await keys.issue(owner="a")

    assert issued.key.startswith("acme_test_")
    assert keys.format.parse(issued.key.encode()).version == "2"
    assert issued.record.digest == await HMACSHA256Hasher(LATER_PEPPER).hash(issued.key.encode())


def test_settings_are_refused_like_arguments() -> None:
    """The command line and containers get the same checks with the same messages."""
    with pytest.raises(ConfigurationError, match="environment='live'"):
        APIKeys.from_settings(Settings(url="memory:", pepper=None, environment="Live"))


# ---- how long, and what a receipt promises ---------------------------------------------------------------------------


def stores(tmp_path: Path) -> dict[str, dict[str, object]]:
    """The ways to say where keys live."""
    return {
        "memory": {"url": "memory:"},
        "repository": {"repository": MemoryRepository()},
        "alone": {"repository": MemoryRepository(), "single_process": True},
        "sqlite": {"url": f"sqlite:///{tmp_path}/keys.db"},
        "sqlite alone": {"url": f"sqlite:///{tmp_path}/keys.db", "single_process": True},
    }


@pytest.mark.parametrize(
    ("store", "confirmed", "max_staleness"),
    [
        ("memory", True, 0.0),
        ("repository", False, 5.0),
        ("alone", True, 0.0),
        ("sqlite", True, 0.0),
        ("sqlite alone", True, 0.0),
    ],
)
async def test_a_receipt_is_confirmed_only_where_no_unheard_of_process_can_have_cached_the_key(
    store: str, confirmed: bool, max_staleness: float, tmp_path: Path
) -> None:
    """Without a change feed others cannot be told, and the receipt says for how long they may not know."""
    async with APIKeys(**stores(tmp_path)[store], pepper=PEPPER) as keys:  # type: ignore[arg-type]
        issued = await keys.issue(owner="a")
        await keys.authenticate(issued.key.encode())

        receipt = await keys.revoke(issued.record.key_id)

        assert (receipt.confirmed, receipt.max_staleness) == (confirmed, max_staleness)
        assert receipt.record.revoked_at is not None
        assert receipt.elapsed >= 0.0
        assert keys.authenticate_nowait(issued.key.encode()) is None


LIFETIMES: list[tuple[str, dict[str, object], float]] = [
    ("memory", {}, 60.0),
    ("repository", {}, 5.0),
    ("alone", {}, 60.0),
    ("repository", {"cache_ttl": 30.0}, 30.0),
    ("memory", {"cache_ttl": 90.0}, 90.0),
    # Whoever sets another limit must not get a minute of staleness with it.
    ("repository", {"limits": Limits(queue=512)}, 5.0),
    ("repository", {"limits": Limits(cache_ttl=2.0)}, 2.0),
    ("memory", {"limits": Limits(cache_ttl=2.0)}, 2.0),
    ("repository", {"limits": Limits(cache_ttl=2.0), "cache_ttl": 20.0}, 20.0),
]


@pytest.mark.parametrize(("store", "arguments", "ttl"), LIFETIMES)
async def test_how_long_a_verdict_is_used(
    store: str, arguments: dict[str, object], ttl: float, clock: FakeClock, tmp_path: Path
) -> None:
    """A minute where we hear of every change, five seconds where we may not, or what was asked for."""
    keys = APIKeys(**stores(tmp_path)[store], **arguments, pepper=PEPPER, clock=clock)  # type: ignore[arg-type]
    issued = await keys.issue(owner="a")
    await keys.authenticate(issued.key.encode())

    clock.advance(0.89 * ttl)
    fresh = keys.authenticate_nowait(issued.key.encode())
    clock.advance(0.11 * ttl + 1e-6)
    stale = keys.authenticate_nowait(issued.key.encode())

    assert fresh is not None
    assert stale is None


async def test_another_process_accepts_a_revoked_key_no_longer_than_the_receipt_says(clock: FakeClock) -> None:
    """The promise of an unconfirmed receipt, kept to the instant."""
    store = MemoryRepository()
    here, there = (APIKeys(repository=store, pepper=PEPPER, clock=clock) for _ in range(2))
    issued = await here.issue(owner="a")
    await there.authenticate(issued.key.encode())
    receipt = await here.revoke(issued.record.key_id)

    at_first = there.authenticate_nowait(issued.key.encode())
    clock.advance(receipt.max_staleness)

    assert not receipt.confirmed
    assert at_first is not None
    assert there.authenticate_nowait(issued.key.encode()) is None
    with pytest.raises(RevokedKey):
        await there.authenticate(issued.key.encode())


async def test_another_process_enables_a_key_no_later_than_the_receipt_says(clock: FakeClock) -> None:
    """Remembered rejections end in time as well."""
    store = MemoryRepository()
    here, there = (APIKeys(repository=store, pepper=PEPPER, clock=clock, cache_ttl=1.0) for _ in range(2))
    issued = await here.issue(owner="a")
    await here.disable(issued.record.key_id)
    with pytest.raises(Exception, match="disabled"):
        await there.authenticate(issued.key.encode())
    receipt = await here.enable(issued.record.key_id)
    clock.advance(receipt.max_staleness)

    assert (await there.authenticate(issued.key.encode())).owner == "a"


async def test_forget_is_for_changes_made_behind_our_back() -> None:
    """One process can be told at once; nothing else is forgotten."""
    store = MemoryRepository()
    here, there = APIKeys(repository=store, pepper=PEPPER), APIKeys(repository=store, pepper=PEPPER)
    issued, other = await here.issue(owner="a"), await here.issue(owner="b")
    for key in (issued.key, other.key):
        await there.authenticate(key.encode())
    await here.revoke(issued.record.key_id)

    there.forget(issued.record.key_id)

    assert there.authenticate_nowait(issued.key.encode()) is None
    assert there.authenticate_nowait(other.key.encode()) is not None


async def test_a_key_under_an_unknown_checksum_key_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is looked up all the same; the log says what to add, and nothing of the key."""
    stranger = APIKeys("memory:", pepper=PEPPER, checksum_keys=[CHECKSUM_KEY[::-1]])
    key = stranger.format.generate("live").key
    async with APIKeys("memory:", pepper=PEPPER, checksum_keys=[CHECKSUM_KEY]) as keys:
        for _ in range(3):
            with pytest.raises(UnknownKey):
                await keys.authenticate(key.encode())

    assert [each.message for each in caplog.records] == [
        f"a presented key names checksum key {key[-40:-38]!r}, which is not in the ring: its checksum is not compared; "
        "if keys were issued under it, add it to checksum_keys (before the newest)"
    ]


# ---- open and close --------------------------------------------------------------------------------------------------


async def test_closing_writes_the_usage_counts(clock: FakeClock) -> None:
    """An orderly end loses no count."""
    store = MemoryRepository()
    async with APIKeys(repository=store, pepper=PEPPER, clock=clock) as keys:
        issued = await keys.issue(owner="a")
        for _ in range(3):
            await keys.authenticate(issued.key.encode())
            clock.advance(1.0)
    record = await store.get(issued.record.key_id)

    assert record is not None
    assert (record.uses, record.last_used_at, record.version) == (3, NOON + 2.0, 1)


async def test_flush_writes_the_usage_counts_now(clock: FakeClock) -> None:
    """For whoever wants to see them before the interval is over."""
    keys = APIKeys("memory:", pepper=PEPPER, clock=clock)
    issued = await keys.issue(owner="a")
    await keys.authenticate(issued.key.encode())
    before = (await keys.get(issued.record.key_id)).uses

    await keys.flush()

    assert (before, (await keys.get(issued.record.key_id)).uses) == (0, 1)


async def test_closing_closes_the_hasher() -> None:
    """It may have threads, and an object that is given a hasher has it as it has a repository."""
    hasher = WatchedHasher(SHA256Hasher())
    async with APIKeys("memory:", hasher=hasher):
        pass

    assert hasher.closed == 1


async def test_a_request_counted_while_closing_is_written_and_delays_nothing() -> None:
    """It starts no timer, which closing would wait for; here it would be a day."""
    store = Watched(MemoryRepository())
    keys = APIKeys(repository=store, pepper=None, single_process=True, usage_interval=DAY)  # type: ignore[arg-type]
    issued = await keys.issue(owner="acme")
    await keys.authenticate(issued.key.encode())
    store.before["record_usage"].shut()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(keys.close)
            await until(lambda: store.before["record_usage"].waiting)
            await anyio.wait_all_tasks_blocked()
            keys.authenticate_nowait(issued.key.encode())
            store.before["record_usage"].open()

    record = await keys.get(issued.record.key_id)
    assert record.uses == 2


async def test_an_object_that_was_closed_can_be_used_again() -> None:
    """Keys, memory and counts go on where they were."""
    keys = APIKeys("memory:", pepper=PEPPER)
    async with keys:
        issued = await keys.issue(owner="a")
        await keys.authenticate(issued.key.encode())
    async with keys:
        await keys.authenticate(issued.key.encode())
    await keys.close()

    assert (await keys.get(issued.record.key_id)).uses == 2


async def test_closing_releases_the_store() -> None:
    """Also without having been opened, and as often as one likes."""
    store = Watched(MemoryRepository())
    keys = APIKeys(repository=store, pepper=PEPPER)  # type: ignore[arg-type]

    await keys.close()
    await keys.close()

    assert store.calls["close"] == 2


async def test_closing_waits_for_changes_under_way() -> None:
    """A revoke whose caller went away is made before the store is closed."""
    store = Watched(MemoryRepository())
    keys = APIKeys(repository=store, pepper=PEPPER)  # type: ignore[arg-type]
    issued = await keys.issue(owner="a")
    hold = store.before["revoke_all"]
    hold.shut()
    caller = asyncio.create_task(keys.revoke(issued.record.key_id))
    await until(lambda: hold.waiting)
    caller.cancel()
    closing = asyncio.create_task(keys.close())
    await anyio.wait_all_tasks_blocked()
    closed_early = closing.done() or store.calls["close"]
    hold.open()
    await closing

    assert not closed_early
    assert (await keys.get(issued.record.key_id)).revoked_at is not None


async def test_a_missing_store_does_not_stop_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """Requests are answered 503 until it is there, and the log says so once."""
    store = Watched(MemoryRepository())
    store.failures |= {"open": StoreUnavailable("not there"), "get": StoreUnavailable("not there")}
    async with APIKeys(repository=store, pepper=PEPPER) as keys:  # type: ignore[arg-type]
        key = keys.format.generate("live").key
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await keys.authenticate(key.encode())
        store.failures.clear()
        with pytest.raises(UnknownKey):
            await keys.authenticate(key.encode())

    assert [record.getMessage() for record in caplog.records] == [
        "starting without the key store: not there",
        "keys cannot be decided, requests are answered 503: not there",
        "keys can be decided again",
    ]


async def test_a_digest_that_cannot_be_read_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A process that was given another pepper than its neighbours says so; outside, it looks like any wrong key."""
    repository = MemoryRepository()
    async with APIKeys(repository=repository, pepper=PEPPER) as others:
        issued = [await others.issue(owner="acme") for _ in range(2)]
    async with APIKeys(repository=repository, pepper=LATER_PEPPER) as keys:
        for each in issued:
            with pytest.raises(WrongSecret):
                await keys.authenticate(each.key.encode())

    [warning] = [each for each in caplog.messages if "cannot be verified" in each]

    assert issued[0].record.key_id in warning
    assert "pepper" in warning


async def test_the_environment_is_read_as_the_command_line_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring of peppers in one variable is a ring for the server too."""
    monkeypatch.setenv("ASGI_APIKEY_URL", "memory:")
    monkeypatch.setenv("ASGI_APIKEY_PEPPER", f"{PEPPER} {LATER_PEPPER}")
    keys = APIKeys.from_env()
    issued = await keys.issue(owner="acme")

    assert HMACSHA256Hasher([PEPPER, LATER_PEPPER]).accepts(issued.record.digest)
    assert not HMACSHA256Hasher(PEPPER).accepts(issued.record.digest)
    with pytest.raises(ConfigurationError, match="from_env"):
        APIKeys("memory:", pepper=f"{PEPPER} {LATER_PEPPER}")


@pytest.mark.parametrize("name", ["single_process", "share_records"])
@pytest.mark.parametrize("value", ["false", "", 0, None])
def test_a_flag_is_true_or_false(name: str, value: object) -> None:
    """A text from a configuration file that says "false" is true to Python, and would confirm revokes."""
    with pytest.raises(ConfigurationError, match=f"{name}=.* is neither True nor False"):
        APIKeys("memory:", pepper=PEPPER, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", b"memory:"),
        ("prefix", None),
        ("environment", 5),
        ("redis", 6379),
        ("cache_ttl", "60"),
        ("cache_size", 1.5),
        ("usage_interval", None),
        ("usage_retention", "90"),
        ("last_used_resolution", True),
        ("owner_ttl", 0),
        ("outage_grace", "1"),
        ("max_keys_per_owner", True),
        ("checksum_keys", 5),
        ("audit_key", [5]),
        ("cache_secret", 5),
        ("static_keys", "API_KEY_X=ak"),
        ("expiry", 30),
        ("leases", 2.0),
        ("limits", {}),
        ("resolve_owner", "acme"),
        ("bus", 5),
        ("shared_cache", 5),
        ("clock", 5),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_by_its_name(name: str, value: object) -> None:
    """At construction, and not by an error from somewhere within it or by a request."""
    with pytest.raises(ConfigurationError, match=name):
        APIKeys(**{"url": "memory:", "pepper": PEPPER, name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("repository", 5), ("hasher", "argon2"), ("pepper", 5)])
def test_a_part_that_is_none_is_refused_by_its_name(name: str, value: object) -> None:
    """A repository, a hasher, or what a hasher is made from."""
    others = {"repository": {"pepper": PEPPER}, "hasher": {"url": "memory:"}, "pepper": {"url": "memory:"}}[name]

    with pytest.raises(ConfigurationError, match=name):
        APIKeys(**others, **{name: value})  # type: ignore[arg-type]


async def test_a_store_that_cannot_be_used_stops_the_start() -> None:
    """What waiting will not mend is raised."""
    store = Watched(MemoryRepository())
    store.failures["open"] = ConfigurationError("made by a later version")

    with pytest.raises(ConfigurationError, match="later version"):
        await APIKeys(repository=store, pepper=PEPPER).open()  # type: ignore[arg-type]


def test_serving_makes_no_store(tmp_path: Path) -> None:
    """A missing file is made by the first key that is issued, never by opening or by a request."""
    keys = APIKeys(f"sqlite:///{tmp_path}/keys.db", pepper=PEPPER)

    async def serve() -> None:
        async with keys:
            with pytest.raises(StoreUnavailable):
                await keys.authenticate(keys.format.generate("live").key.encode())

    async def issue() -> None:
        async with keys:
            await keys.issue(owner="a")

    asyncio.run(serve())
    made_by_serving = list(tmp_path.iterdir())
    asyncio.run(issue())

    assert made_by_serving == []
    assert (tmp_path / "keys.db").exists()


def test_one_object_serves_one_event_loop_after_the_other(tmp_path: Path) -> None:
    """Test clients start a loop for each request; keys, memory and counts go on, whichever library runs the loop."""
    keys = APIKeys("memory:", pepper=PEPPER)
    issued = anyio.run(partial(keys.issue, owner="a"))
    for backend in ("asyncio", "trio", "asyncio"):
        principal = anyio.run(keys.authenticate, issued.key.encode(), backend=backend)
        assert principal.owner == "a"
        anyio.run(keys.disable, issued.record.key_id, backend=backend)
        anyio.run(keys.enable, issued.record.key_id, backend=backend)
    anyio.run(keys.close)

    assert anyio.run(keys.get, issued.record.key_id).uses == 3


def test_one_sqlite_store_serves_one_event_loop_after_the_other(tmp_path: Path) -> None:
    """Connections belong to a loop and are opened anew in the next one, with or without an orderly end."""
    keys = APIKeys(f"sqlite:///{tmp_path}/keys.db", pepper=PEPPER)

    async def serve(*, orderly: bool) -> str:
        issued = await keys.issue(owner="a")
        principal = await keys.authenticate(issued.key.encode())
        if orderly:
            await keys.close()
        return principal.owner

    for orderly in (True, False, False, True):
        assert asyncio.run(serve(orderly=orderly)) == "a"


# ---- hashers change on the live system -------------------------------------------------------------------------------


async def test_a_new_pepper_replaces_digests_as_keys_are_used() -> None:
    """Off the request's path, without a new version; afterwards the old pepper can be dropped."""
    store = MemoryRepository()
    old = APIKeys(repository=store, pepper=PEPPER)
    both = APIKeys(repository=store, pepper=[PEPPER, LATER_PEPPER])
    new = APIKeys(repository=store, pepper=LATER_PEPPER)
    used, idle = await old.issue(owner="used"), await old.issue(owner="idle")
    await both.authenticate(used.key.encode())
    await both.close()
    record = await store.get(used.record.key_id)

    assert record is not None
    assert record.version == 1
    assert record.digest == await HMACSHA256Hasher(LATER_PEPPER).hash(used.key.encode())
    assert (await new.authenticate(used.key.encode())).owner == "used"
    with pytest.raises(WrongSecret):
        await new.authenticate(idle.key.encode())


async def test_a_key_is_let_in_while_its_digest_is_being_replaced() -> None:
    """The request does not wait for the new digest, nor for the store to take it."""
    inner = MemoryRepository()
    store = Watched(inner)
    issued = await APIKeys(repository=inner, pepper=PEPPER).issue(owner="a")
    keys = APIKeys(repository=store, pepper=[PEPPER, LATER_PEPPER])  # type: ignore[arg-type]
    hold = store.before["replace_digest"]
    hold.shut()

    principal = await keys.authenticate(issued.key.encode())
    await until(lambda: hold.waiting)
    hold.open()
    await keys.close()

    assert principal.owner == "a"
    assert store.calls["replace_digest"] == 1


async def test_plain_digests_are_refused_once_there_is_a_pepper() -> None:
    """Unless they are listed as retired but accepted: whoever can write rows could make keys otherwise."""
    store = MemoryRepository()
    issued = await APIKeys(repository=store, pepper=None).issue(owner="a")
    strict = APIKeys(repository=store, pepper=PEPPER)
    lenient = APIKeys(repository=store, hasher=HasherSuite(HMACSHA256Hasher(PEPPER), SHA256Hasher()))

    with pytest.raises(WrongSecret):
        await strict.authenticate(issued.key.encode())
    assert (await lenient.authenticate(issued.key.encode())).owner == "a"
