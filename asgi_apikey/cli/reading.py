"""Commands that change nothing: list, show, verify."""

from __future__ import annotations

import sys

import click

from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.criteria import criteria_of, criteria_options
from asgi_apikey.cli.desk import Desk, Judgement, Occasion
from asgi_apikey.cli.explaining import explained
from asgi_apikey.cli.options import served_options
from asgi_apikey.cli.output import cell, principal_fields, record_fields, write_fields, write_json, write_records
from asgi_apikey.cli.progress import Bar
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.target import target_of, target_options
from asgi_apikey.models import KeyPage, SortBy


@click.command("list")
@served_options
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
        _write_count(session, session.run(lambda desk: desk.keys.count(**criteria)))
        return

    criteria["sort"], criteria["ascending"] = sort, ascending

    async def work(desk: Desk) -> KeyPage:
        found = await desk.keys.find(**criteria, limit=limit, cursor=cursor)
        records, following = list(found.records), found.next_cursor
        with Bar(session, "keys") as bar:
            while everything and following is not None:
                bar.show(len(records))
                found = await desk.keys.find(**criteria, limit=limit, cursor=following)
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
@served_options
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
@served_options
@click.option("--scope", "scopes", multiple=True, help="It must be allowed this, too; may be repeated.")
@click.option("--address", help="And be used from this address.")
@click.option("--method", help="And for this method and --path; WEBSOCKET for a handshake.")
@click.option("--path", help="And for this path and --method.")
@click.option("--origin", help="And from this web page, as browsers tell it in Origin.")
@click.option("--explain", is_flag=True, help="Say what each stage of the decision comes to; on the store itself only.")
@click.pass_obj
def verify(
    session: Session,
    scopes: tuple[str, ...],
    address: str | None,
    method: str | None,
    path: str | None,
    origin: str | None,
    explain: bool,
) -> None:
    """Read a key and say whether it is accepted now, and for whom. Exits 0 if so, 1 if not.

    Read from standard input, or asked for and not shown. Networks, routes and origins that the key is bound to are
    asked about if one of --address, --method, --path and --origin is there, and always with --explain. On the store
    itself this is not counted as a use of the key.
    """
    presented = presented_key(session)
    occasion = Occasion(scopes, address, method, path, origin)
    if explain:
        sys.exit(0 if explained(session, presented, occasion) else 1)

    async def work(desk: Desk) -> Judgement:
        return await desk.judge(presented, occasion)

    judgement = session.run(work)
    principal = None if judgement.principal is None else principal_fields(judgement.principal)
    if session.as_json:
        accepted = judgement.reason is None
        key_id = judgement.key_id
        write_json({"accepted": accepted, "principal": principal, "reason": judgement.reason, "key_id": key_id})
    else:
        click.echo("accepted" if judgement.reason is None else f"rejected: {cell(judgement.reason)}")
        if principal is not None:
            write_fields(principal)
    # A rejection is an answer, not a failure of the command: on the same stream as the other one.
    sys.exit(0 if judgement.reason is None else 1)
