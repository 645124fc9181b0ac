"""Every SQL store does what memory does, whatever is asked of both in whatever order."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from databases import Database
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import UNSET, At, Ceiling, KeyQuery, RecordPatch, Revocation, SortBy, Status, Usage
from asgi_apikey.protocols import KeyRepository
from asgi_apikey.repositories.databases import DatabasesDriver
from asgi_apikey.repositories.driver import Driver, Transaction
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.repositories.postgres import PostgresDriver
from asgi_apikey.repositories.sql import SQLRepository
from asgi_apikey.repositories.sqlite import SQLiteDriver
from tests.contracts.repository import NOW, a_record
from tests.servers import PostgresServer

KEY_IDS = st.sampled_from(["a", "b", "c", "é", "a\0", ""])
INSTANTS = st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 1 / 3, float("nan")])
TEXT = st.sampled_from(["", "x", "☃", "a\0", "\ud800"])
SCOPES = st.frozensets(st.sampled_from(["s", "t", "t.u", "t.*", "*", "a b", ""]), max_size=2)
LABELS = st.frozensets(st.sampled_from(["t", "t.u", "t.*", "*"]), max_size=3)
METADATA = st.sampled_from([{}, {"a": [1, {"b": None}]}, {"x": float("nan")}])
VERSIONS = st.integers(0, 6)


def or_unset(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly leave a column of a patch as it is."""
    return st.just(UNSET) | st.just(UNSET) | values


RECORDS = st.builds(
    a_record,
    KEY_IDS,
    created_at=INSTANTS,
    owner=TEXT,
    scopes=SCOPES,
    metadata=METADATA,
    not_before=st.none() | INSTANTS,
    expires_at=st.none() | INSTANTS,
    version=st.integers(1, 3),
    name=TEXT,
    lineage=st.sampled_from(["a", "b"]),
    tags=LABELS,
    last_used_at=st.none() | INSTANTS,
    revoked_at=st.none() | INSTANTS,
)
PATCHES = st.builds(
    RecordPatch,
    name=or_unset(TEXT),
    scopes=or_unset(SCOPES),
    not_before=or_unset(st.none() | INSTANTS),
    expires_at=or_unset(st.none() | INSTANTS),
    disabled_at=or_unset(st.none() | INSTANTS),
    revoked_at=or_unset(INSTANTS),
    metadata=or_unset(METADATA),
    tags=or_unset(LABELS),
)
FLAGS = st.none() | st.none() | st.booleans()
BOUNDS = st.none() | st.none() | INSTANTS
QUERIES = st.builds(
    KeyQuery,
    owner=st.none() | TEXT,
    status=st.none() | st.sampled_from(Status),
    lineage=st.none() | st.none() | TEXT,
    name=st.none() | st.none() | TEXT,
    name_contains=st.none() | st.none() | TEXT,
    tags=st.just(frozenset()) | LABELS,
    scopes=st.just(frozenset()) | LABELS,
    any_scopes=st.just(frozenset()) | LABELS,
    created_after=BOUNDS,
    created_before=BOUNDS,
    expires_after=BOUNDS,
    expires_before=BOUNDS,
    last_used_after=BOUNDS,
    last_used_before=BOUNDS,
    revoked=FLAGS,
    endless=FLAGS,
    never_used=FLAGS,
    idle_for=st.none() | st.none() | st.sampled_from([0.0, 1.0, -1.0]),
    sort=st.sampled_from(SortBy),
    ascending=st.booleans(),
    limit=st.integers(0, 4),
)
CEILINGS = st.lists(
    st.builds(
        Ceiling,
        within=st.builds(KeyQuery, owner=st.none() | TEXT, lineage=st.none() | TEXT),
        most=st.integers(0, 3),
        now=st.just(NOW),
        lineages=st.booleans(),
    ),
    max_size=2,
)
REVOCATIONS = st.builds(Revocation, INSTANTS, TEXT, TEXT)
PLACES = st.builds(At, KEY_IDS, VERSIONS)


class RepositoryPair(RuleBasedStateMachine):
    """One store in memory, one in a database; every call goes to both."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.memory = MemoryRepository(cursor_key=b"one for both")
        self.driver = self.new_driver()
        self.database = SQLRepository(self.driver, cursor_key=b"one for both")

    def new_driver(self) -> Driver:
        """A driver for a store in a file."""
        return SQLiteDriver(self.folder / "keys.db", deadline=30)

    @initialize()
    def begin(self) -> None:
        """Make the store, or empty it."""
        self.runner.run(self.database.open(create=True))
        self.runner.run(self.emptied())

    async def emptied(self) -> None:
        """Leave what a new store has."""

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.runner.run(self.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def both(self, call: Callable[[KeyRepository], Awaitable[object]]) -> object:
        """Ask both, and expect the same answer or the same error."""

        async def outcome(repository: KeyRepository) -> object:
            try:
                return await call(repository)
            except APIKeyError as error:
                return (type(error), str(error))

        expected, found = self.runner.run(outcome(self.memory)), self.runner.run(outcome(self.database))
        assert found == expected
        return found

    @rule(record=RECORDS, ceilings=CEILINGS)
    def add(self, record: Any, ceilings: list[Ceiling]) -> None:
        """Insert."""
        self.both(lambda repository: repository.add(record, ceilings=ceilings))

    @rule(key_id=KEY_IDS, patch=PATCHES, version=VERSIONS)
    def update(self, key_id: str, patch: RecordPatch, version: int) -> None:
        """Change, at a version that may be right."""
        self.both(lambda repository: repository.update(key_id, patch, version=version))

    @rule(key_id=KEY_IDS, patch=PATCHES)
    def update_current(self, key_id: str, patch: RecordPatch) -> None:
        """Change, at the right version."""
        record = self.runner.run(self.memory.get(key_id))
        if record is not None:
            self.both(lambda repository: repository.update(key_id, patch, version=record.version))

    @rule(
        key_id=KEY_IDS, patch=PATCHES, successor=RECORDS, version=VERSIONS, ceilings=CEILINGS,
        retired=st.just([]) | st.lists(PLACES, max_size=2, unique_by=lambda at: at.key_id), retirement=REVOCATIONS,
    )  # fmt: skip
    def replace(
        self, key_id: str, patch: RecordPatch, successor: Any, version: int,
        ceilings: list[Ceiling], retired: list[At], retirement: Revocation,
    ) -> None:  # fmt: skip
        """Rotate."""
        self.both(
            lambda repository: repository.replace(
                key_id, patch, successor, version=version, ceilings=ceilings,
                retired=[at for at in retired if at.key_id != key_id], retirement=retirement,
            )
        )  # fmt: skip

    @rule(query=QUERIES, revocation=REVOCATIONS, guard=st.none() | PLACES)
    def revoke_all(self, query: KeyQuery, revocation: Revocation, guard: At | None) -> None:
        """Revoke many."""
        self.both(lambda repository: repository.revoke_all(query, revocation, now=NOW, guard=guard))

    @rule(dead_since=INSTANTS, limit=st.integers(0, 2))
    def prune(self, dead_since: float, limit: int) -> None:
        """Delete the dead."""
        self.both(lambda repository: repository.prune(dead_since, limit=limit))

    @rule(key_id=KEY_IDS, version=VERSIONS)
    def delete(self, key_id: str, version: int) -> None:
        """Remove, at a version that may be right."""
        self.both(lambda repository: repository.delete(key_id, version=version))

    @rule(key_id=KEY_IDS)
    def delete_current(self, key_id: str) -> None:
        """Remove, at the right version."""
        record = self.runner.run(self.memory.get(key_id))
        if record is not None:
            self.both(lambda repository: repository.delete(key_id, version=record.version))

    @rule(key_id=KEY_IDS, old=st.sampled_from(["sha256$a", "sha256$b", "new"]), new=TEXT)
    def replace_digest(self, key_id: str, old: str, new: str) -> None:
        """Re-hash."""
        self.both(lambda repository: repository.replace_digest(key_id, old=old, new=new))

    @rule(batch=st.lists(st.builds(Usage, KEY_IDS, st.integers(1, 9), INSTANTS), max_size=4))
    def record_usage(self, batch: list[Usage]) -> None:
        """Count."""
        self.both(lambda repository: repository.record_usage(batch))

    @rule(query=QUERIES, now=INSTANTS.filter(lambda now: now == now))
    def find(self, query: KeyQuery, now: float) -> None:
        """Count, and read all pages."""
        self.both(lambda repository: repository.count(query, now=now))
        while True:
            page: Any = self.both(partial(_find, query=query, now=now))
            if isinstance(page, tuple) or page.next_cursor is None:
                return
            query = replace(query, cursor=page.next_cursor)

    @rule()
    def close(self) -> None:
        """Close; the next call opens again."""
        self.both(lambda repository: repository.close())

    @invariant()
    def every_key_is_the_same(self) -> None:
        """Both hold the same records."""
        for key_id in ("a", "b", "c", "é"):
            self.both(partial(_get, key_id=key_id))


async def _get(repository: KeyRepository, *, key_id: str) -> object:
    return await repository.get(key_id)


async def _find(repository: KeyRepository, *, query: KeyQuery, now: float) -> object:
    return await repository.find(query, now=now)


class OnDatabasesSQLite(RepositoryPair):
    """The same, over an application's `Database`."""

    def new_driver(self) -> Driver:
        """A driver for a store in a file, opened anew for each call."""
        return DatabasesDriver(Database(f"sqlite:///{self.folder / 'app.db'}"), deadline=30)


class OnPostgres(RepositoryPair):
    """The same on a server, in one database for all examples."""

    def new_driver(self) -> Driver:
        """A driver for that database."""
        return PostgresDriver(self.url, deadline=30)

    async def emptied(self) -> None:
        """Leave what a new store has; positions of the feed begin anew, too."""

        async def work(transaction: Transaction) -> None:
            for table in (
                "api_keys",
                "api_key_changes",
                "api_key_audit",
                "api_key_usage",
                "api_key_labels",
                "api_key_meters",
            ):
                await transaction.fetch(f"DELETE FROM {table}")
            await transaction.fetch("UPDATE api_key_feed SET last_seq = 0")

        await self.driver.write(work)


class OnDatabasesPostgres(OnPostgres):
    """The same, over an application's `Database`."""

    def new_driver(self) -> Driver:
        """A driver for that database, over connections of its own."""
        return DatabasesDriver(Database(self.url, ssl=False), deadline=30)


@pytest.fixture(scope="module", autouse=True)
def _server(postgres: PostgresServer) -> Iterator[None]:
    """A database for the examples; hypothesis makes its machines itself, so they find it in the class."""
    name = postgres.new_database()
    RepositoryPair.url = postgres.url_of(name)
    yield
    postgres.drop_database(name)


TestOnSQLite = RepositoryPair.TestCase
TestOnSQLite.settings = settings(max_examples=40, stateful_step_count=25)
TestOnPostgres = OnPostgres.TestCase
TestOnPostgres.settings = settings(max_examples=10, stateful_step_count=25)
TestOnDatabasesSQLite = OnDatabasesSQLite.TestCase
TestOnDatabasesSQLite.settings = settings(max_examples=10, stateful_step_count=25)
TestOnDatabasesPostgres = OnDatabasesPostgres.TestCase
TestOnDatabasesPostgres.settings = settings(max_examples=10, stateful_step_count=25)
