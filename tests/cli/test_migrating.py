"""`migrate`."""

from __future__ import annotations

import sqlite3

from asgi_apikey.repositories.migrations import migrations
from tests.cli.conftest import Console, Shell

NEWEST = len(migrations("sqlite"))


def test_the_store_is_brought_up_to_date_and_says_so(shell: Shell) -> None:
    """Made where there is none, like `init`; done again, nothing happens."""
    before = shell("migrate", "--status")
    done, again = shell("migrate"), shell("--json", "migrate", "--status")

    assert before.returncode == 3
    assert not before.stdout
    assert done.stdout == f"the key store has schema {NEWEST}, which is the newest\n"
    assert again.stdout == f'{{"current": true, "newest": {NEWEST}}}\n'


def test_an_older_store_says_what_it_lacks_and_is_migrated(shell: Shell) -> None:
    """With its rows."""
    path = shell.folder / "keys.db"
    connection = sqlite3.connect(path)
    for statement in migrations("sqlite")[0].statements:
        connection.execute(statement)
    connection.execute("UPDATE api_key_meta SET value = '1' WHERE name = 'schema_version'")
    connection.commit()
    connection.close()
    status = shell("--json", "migrate", "--status")

    assert status.returncode == 3
    assert f"schema 1, {NEWEST} is needed" in status.stdout
    assert shell("migrate").returncode == 0
    assert shell("issue", "--owner", "acme", "--quiet").returncode == 0


def test_the_sql_can_be_run_by_other_means(shell: Shell) -> None:
    """Each step in a transaction of its own, and the store then knows its schema."""
    script = shell("migrate", "--sql").stdout
    connection = sqlite3.connect(shell.folder / "keys.db")
    connection.executescript(script)
    connection.close()

    assert shell("migrate", "--status").returncode == 0
    assert "CREATE TABLE api_keys" not in shell("migrate", "--sql", "--from", "1").stdout
    assert shell("migrate", "--sql", "--from", str(NEWEST)).stdout == ""
    assert "pg_" not in script
    assert "bigint" in shell("--url", "postgresql://host/db", "migrate", "--sql").stdout


def test_what_contradicts_is_refused(console: Console) -> None:
    """Two questions at once, and a store without a schema."""
    assert console("migrate", "--status", "--sql").exit_code == 2
    assert console("--url", "memory:", "migrate", "--sql").exit_code == 2
