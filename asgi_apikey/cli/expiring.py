"""Keys that end soon: shown, and told to hooks and webhooks once for each span."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli import values
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options
from asgi_apikey.cli.output import record_fields, write_json, write_records
from asgi_apikey.cli.session import Session
from asgi_apikey.models import Criteria, KeyRecord, Seconds, SortBy, Status


@click.command()
@served_options
@click.option(
    "--within",
    type=values.duration,
    default="14d",
    show_default=True,
    help="How far ahead to look: 14d, 12h.",
)
@click.option("--owner", help="Only this owner's keys.")
@click.option("--tenant", help='Only this tenant\'s keys; "" is the default tenant.')
@click.option("--notify", is_flag=True, help="Send the event `expiring` to the webhook, once for each key and span.")
@click.pass_context
def expiring(ctx: click.Context, within: Seconds, owner: str | None, tenant: str | None, notify: bool) -> None:
    """List active keys that end soon, the next one first. The exit code is 1 if there are any.

    For cron, which writes a mail when something is printed:

    asgi-apikey expiring --within 14d --notify
    """
    session = ctx.find_object(Session)
    assert session is not None, "start it with obj=Session(...)"
    if within <= 0:
        raise click.UsageError("--within must be longer than nothing")
    if notify and (owner is not None or tenant is not None):
        raise click.UsageError("--notify is about all keys: leave --owner and --tenant out")
    now = session.clock.wall()
    criteria = Criteria(
        status=Status.ACTIVE,
        expires_after=now,
        expires_before=now + within,
        sort=SortBy.EXPIRES_AT,
        ascending=True,
        owner=owner,
        tenant=tenant,
    )
    found = session.run(lambda desk: _every(desk, criteria))
    told = session.run_here(lambda keys: _told(keys, within)) if notify else None
    _show(session, found, now, told)
    ctx.exit(1 if found else 0)


async def _every(desk: Desk, criteria: Criteria) -> list[KeyRecord]:
    page = await desk.keys.find(**criteria, limit=100)
    found = list(page.records)
    while page.next_cursor is not None:
        page = await desk.keys.find(**criteria, limit=100, cursor=page.next_cursor)
        found += page.records
    return found


async def _told(keys: APIKeys, within: Seconds) -> int:
    # Closing the keys, which follows, waits for what is under way.
    return await keys.notice_expiring(within)


def _show(session: Session, found: list[KeyRecord], now: float, told: int | None) -> None:
    if session.as_json:
        fields = [record_fields(record, now) for record in found]
        write_json({"keys": fields} if told is None else {"keys": fields, "told": told})
        return
    if found:
        write_records(found, now)
    if told:
        click.echo(f"{told} told now, the others before", err=True)
