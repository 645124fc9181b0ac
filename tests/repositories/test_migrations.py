"""The numbered steps of the schema."""

from __future__ import annotations

import sqlite3

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.repositories.migrations import migrations, pending
from asgi_apikey.repositories.records import COLUMNS


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
