"""Commands that change nothing: list, show, verify."""

from __future__ import annotations

import sys

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import principal_fields, record_fields, write_fields, write_json, write_records
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.target import proven_record, target_of, target_options
from asgi_apikey.errors import InvalidKey
from asgi_apikey.models import KeyPage, Principal, Status
from asgi_apikey.verification import principal_of, rejection_of


@click.command("list")
@shared_options
@click.option("--owner", help="Only this owner's keys.")
@click.option("--tenant", help='Only this tenant\'s keys; "" is the default tenant.')
@click.option("--environment", help="Only keys of this environment.")
@click.option(
    "--status", type=click.Choice([each.value for each in Status]), help="Only keys that stand like this now."
)
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="Page size.")
@click.option("--cursor", help="Where the page before ended.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@click.pass_obj
def list_keys(
    session: Session,
    owner: str | None,
    tenant: str | None,
    environment: str | None,
    status: str | None,
    limit: int,
    cursor: str | None,
    everything: bool,
) -> None:
    """List keys, newest first."""

    async def page(keys: APIKeys, cursor: str | None) -> KeyPage:
        return await keys.find(
            owner=owner,
            tenant=tenant,
            environment=environment,
            status=None if status is None else Status(status),
            limit=limit,
            cursor=cursor,
        )

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
