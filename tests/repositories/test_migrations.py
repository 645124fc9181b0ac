"""The numbered steps of the schema."""

from __future__ import annotations

import sqlite3

import asyncpg
import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.repositories.migrations import Migration, migrations, pending
from asgi_apikey.repositories.records import COLUMNS, from_row
from tests.servers import PostgresServer

# A key and its two successors; one whose predecessor is gone, and its successor; and a circle, made by raw SQL.
FIRST_SCHEMA = [
    ("a", None, "x ü:y"),
    ("b", "a", ""),
    ("c", "b", "z"),
    ("o", "gone", "q"),
    ("p", "o", ""),
    ("l", "m", ""),
    ("m", "l", ""),
]
LINEAGES = {"a": "a", "b": "a", "c": "a", "o": "gone", "p": "gone", "l": "l", "m": "m"}


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    for statement in step.statements:
        connection.execute(statement)


def test_steps_are_numbered_without_gaps() -> None:
    """The schema's version is the number of the last step, and the count of all."""
    assert [step.number for step in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


def test_the_steps_make_the_columns_of_a_record() -> None:
    """After all steps the table has the columns of a record, and each statement is one that SQLite takes alone."""
    connection = sqlite3.connect(":memory:")
    for step in migrations("sqlite"):
        for statement in step.statements:
            connection.execute(statement)
    columns = [row[1] for row in connection.execute("PRAGMA table_info (api_keys)")]
    connection.close()

    assert columns == list(COLUMNS)


def test_an_upgrade_keeps_and_completes_the_keys_of_the_first_schema() -> None:
    """Lineages follow the chains of rotations, also where the first key is gone; scopes can be looked up."""
    connection = sqlite3.connect(":memory:")
    first, *later = migrations("sqlite")
    _apply(connection, first)
    for key_id, replaces, scopes in FIRST_SCHEMA:
        row = {"key_id": key_id, "digest": "d", "version": 1, "created_at": 1, "uses": 0, "metadata": "{}"}
        row |= {"replaces": replaces, "scopes": scopes}
        row |= dict.fromkeys(("owner", "tenant", "environment", "name", "description", "hint", "created_by"), "")
        row |= {"revoked_by": "", "revoke_reason": ""}
        marks = ", ".join("?" for _ in row)
        connection.execute(f"INSERT INTO api_keys ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
    for step in later:
        _apply(connection, step)

    rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM api_keys ORDER BY key_id").fetchall()
    labels = connection.execute("SELECT kind, label, key_id FROM api_key_labels ORDER BY key_id, label").fetchall()
    connection.close()
    records = [from_row(row) for row in rows]
    assert {record.key_id: record.lineage for record in records} == LINEAGES
    assert {record.tags | record.networks | record.routes for record in records} == {frozenset()}
    assert labels == [("scope", scope, record.key_id) for record in records for scope in sorted(record.scopes)]
    assert len(labels) == 4


@pytest.mark.anyio
async def test_an_upgrade_does_the_same_in_postgresql(postgres: PostgresServer) -> None:
    """From the first schema, with rows in it."""
    name = postgres.new_database()
    connection = await asyncpg.connect(postgres.url_of(name))
    try:
        first, *later = migrations("postgres")
        for statement in first.statements:
            await connection.execute(statement)
        await connection.executemany(
            "INSERT INTO api_keys VALUES ($1, 'd', 1, '', '', '', '', '', '', $3, 1, '', NULL, NULL, NULL, NULL, '',"
            " '', $2, NULL, 0, '{}')",
            FIRST_SCHEMA,
        )
        for step in later:
            for statement in step.statements:
                await connection.execute(statement)
        lineages = dict(await connection.fetch("SELECT key_id, lineage FROM api_keys"))
        labels = await connection.fetch("SELECT label, key_id FROM api_key_labels ORDER BY key_id, label")
    finally:
        await connection.close()
        postgres.drop_database(name)

    assert lineages == LINEAGES
    assert [tuple(row) for row in labels] == [("x", "a"), ("ü:y", "a"), ("z", "c"), ("q", "o")]


def test_what_is_pending_follows_the_version() -> None:
    """An empty database lacks every step, a current one lacks none."""
    steps = migrations("sqlite")

    assert pending(steps, 0) == steps
    assert pending(steps, len(steps)) == ()


def test_a_database_ahead_of_us_is_refused() -> None:
    """A later version's schema is not guessed at."""
    steps = migrations("sqlite")

    with pytest.raises(ConfigurationError, match="upgrade asgi-apikey"):
        pending(steps, len(steps) + 1)
