"""The schema of the store: what it is, what it lacks, and how to bring it up to this version."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.errors import StoreUnavailable
from asgi_apikey.repositories.migrations import Migration, migrations

_DIALECTS = {"sqlite": "sqlite", "postgresql": "postgres", "postgres": "postgres"}


@click.command()
@shared_options
@click.option("--status", is_flag=True, help="Only say whether the store is up to date; exits 0 if so, 3 if not.")
@click.option("--sql", is_flag=True, help="Only print the SQL, for those who run it by other means.")
@click.option("--from", "since", type=click.IntRange(min=0), default=0, help="With --sql: the store has this schema.")
@click.pass_obj
def migrate(session: Session, status: bool, sql: bool, since: int) -> None:
    """Bring the store up to this version of the schema; of several that start at once, one does it.

    Make a backup first: there is no way back. Servers of the version before go on meanwhile; started anew, they refuse
    a schema that is newer than they know.
    """
    steps = _steps(session)
    if status and sql:
        raise click.UsageError("give --status or --sql, not both")
    if sql:
        for step in steps[since:]:
            click.echo(_script(step))
        return

    async def nothing_more(keys: APIKeys) -> None:
        """Opening is all there is to do."""

    try:
        session.run_here(nothing_more, create=not status)
    except StoreUnavailable as error:
        if not status or not session.as_json:
            raise
        write_json({"current": False, "newest": steps[-1].number, "message": str(error)})
        raise SystemExit(3) from error
    if session.as_json:
        write_json({"current": True, "newest": steps[-1].number})
    else:
        click.echo(f"the key store has schema {steps[-1].number}, which is the newest")


def _steps(session: Session) -> tuple[Migration, ...]:
    scheme = session.settings().url.partition(":")[0].partition("+")[0]
    if scheme not in _DIALECTS:
        raise click.UsageError("this store has no schema; give --url sqlite:///keys.db or postgresql://...")
    return migrations(_DIALECTS[scheme])


def _script(step: Migration) -> str:
    """Return one step as a transaction of its own, which ends by noting that it was made."""
    noted = f"UPDATE api_key_meta SET value = '{step.number}' WHERE name = 'schema_version'"  # noqa: S608 - a number
    return "\n".join(["BEGIN;", *(f"{statement};" for statement in (*step.statements, noted)), "COMMIT;", ""])
