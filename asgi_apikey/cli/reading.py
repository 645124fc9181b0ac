"""Commands that change nothing: list, show, verify."""

from __future__ import annotations

import sys

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.criteria import criteria_of, criteria_options
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import principal_fields, record_fields, write_fields, write_json, write_records
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.target import proven_record, target_of, target_options
from asgi_apikey.errors import InvalidKey
from asgi_apikey.models import KeyPage, Principal, SortBy
from asgi_apikey.verification import principal_of, rejection_of


@click.command("list")
@shared_options
@criteria_options
@click.option(
    "--sort",
    type=click.Choice([each.value for each in SortBy]),
    default=SortBy.CREATED_AT.value,
    show_default=True,
    help="What they are ordered by, from the greatest down.",
)
@click.option("--ascending", is_flag=True, help="From the smallest up.")
@click.option("--count", is_flag=True, help="Only how many there are, on all pages.")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="Page size.")
@click.option("--cursor", help="Where the page before ended, for the same filters and order.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@click.pass_obj
def list_keys(
    session: Session,
    /,
    sort: str,
    ascending: bool,
    count: bool,
    limit: int,
    cursor: str | None,
    everything: bool,
    **options: object,
) -> None:
    """List keys, newest first."""
    criteria = criteria_of(options)
    if count:
        _write_count(session, session.run(lambda keys: keys.count(**criteria)))
        return

    criteria["sort"], criteria["ascending"] = sort, ascending

    async def page(keys: APIKeys, cursor: str | None) -> KeyPage:
        return await keys.find(**criteria, limit=limit, cursor=cursor)

    async def work(keys: APIKeys) -> KeyPage:
        found = await page(keys, cursor)
        records, following = list(found.records), found.next_cursor
        while everything and following is not None:
            found = await page(keys, following)
            records += found.records
            following = found.next_cursor
        return KeyPage(tuple(records), following)

    found, now = session.run(work), session.clock.wall()
    if session.as_json:
        shown = [record_fields(record, now) for record in found.records]
        write_json({"keys": shown, "next_cursor": found.next_cursor})
        return
    if found.records:
        write_records(found.records, now)
    else:
        click.echo("no such keys", err=True)
    if found.next_cursor is not None:
        click.echo(f"there are more: --cursor {found.next_cursor}, or --all", err=True)


def _write_count(session: Session, count: int) -> None:
    if session.as_json:
        write_json({"count": count})
    else:
        click.echo(count)


@click.command()
@shared_options
@target_options
@click.pass_obj
def show(session: Session, key_id: str | None, key: bool) -> None:
    """Show all that is kept about a key, but its digest."""
    target = target_of(session, key_id, key)
    fields = record_fields(session.run(target.record), session.clock.wall())
    if session.as_json:
        write_json({"record": fields})
    else:
        write_fields(fields)


@click.command()
@shared_options
@click.pass_obj
def verify(session: Session) -> None:
    """Read a key and say whether it is accepted now, and for whom. Exits 0 if so, 1 if not.

    Read from standard input, or asked for and not shown. Not counted as a use of the key.
    """
    presented = presented_key(session)
    environment = session.settings().environment

    async def work(keys: APIKeys) -> Principal:
        record = await proven_record(keys, presented)
        rejection = rejection_of(record, environment=environment, now=session.clock.wall())
        if rejection is not None:
            raise rejection
        return principal_of(record)

    try:
        principal = session.run(work)
    except InvalidKey as rejection:
        # An answer, not a failure of the command: the same document as for an accepted key, on the same stream.
        if not session.as_json:
            raise
        write_json({"accepted": False, "principal": None, "reason": rejection.reason, "key_id": rejection.key_id})
        sys.exit(1)
    fields = principal_fields(principal)
    if session.as_json:
        write_json({"accepted": True, "principal": fields, "reason": None, "key_id": principal.key_id})
    else:
        write_fields(fields)
