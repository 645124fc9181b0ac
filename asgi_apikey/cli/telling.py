"""Commands that ask about the service rather than about a key: me, ready, changes."""

from __future__ import annotations

from collections.abc import Mapping

import click

from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options
from asgi_apikey.cli.output import cell, write_fields, write_json, write_table
from asgi_apikey.cli.session import Session
from asgi_apikey.models import JSONValue


@click.command()
@served_options
@click.pass_obj
def me(session: Session) -> None:
    """Show who the server takes you for, and what you may do. Whoever has the store itself may do everything."""

    async def work(desk: Desk) -> Mapping[str, JSONValue]:
        return await desk.caller()

    fields = session.run(work)
    if session.as_json:
        write_json(fields)
        return
    key = fields["key"]
    write_fields({**fields, "key": key["key_id"] if isinstance(key, Mapping) else None})


@click.command()
@served_options
@click.pass_obj
def ready(session: Session) -> None:
    """Say whether the store answers, here or behind the server. Exits 0 if so, 3 if not."""

    async def work(desk: Desk) -> None:
        await desk.ready()

    session.run(work)
    if session.as_json:
        write_json({"status": "ready"})
    else:
        click.echo("ready")


@click.command()
@served_options
@click.option("--since", type=click.IntRange(min=0), default=0, help="The first position. Default: the beginning.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="Page size.")
@click.pass_obj
def changes(session: Session, since: int, limit: int) -> None:
    """Show the change feed: which key is at which version since which position. What servers read, twice a second."""

    async def work(desk: Desk) -> list[tuple[int, str, int]]:
        return [(row.seq, row.key_id, row.version) for row in await desk.changes(since, limit=limit)]

    rows = session.run(work)
    following = rows[-1][0] + 1 if rows else since
    if session.as_json:
        shown: list[JSONValue] = [{"seq": seq, "key_id": key_id, "version": version} for seq, key_id, version in rows]
        write_json({"changes": shown, "next_since": following})
        return
    if rows:
        told = [(str(seq), cell(key_id) if key_id else "every key", str(version)) for seq, key_id, version in rows]
        write_table(("SEQ", "KEY ID", "VERSION"), told)
    else:
        click.echo("no such changes", err=True)
    if len(rows) == limit:
        click.echo(f"there may be more: --since {following}", err=True)
