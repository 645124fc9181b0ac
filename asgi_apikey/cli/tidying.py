"""Commands on many keys at once: revoke-where, prune."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli import values
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.criteria import criteria_of, criteria_options
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options, shared_options
from asgi_apikey.cli.output import bulk_fields, write_json
from asgi_apikey.cli.radius import counted, ended_by, pruned_by
from asgi_apikey.cli.session import Session
from asgi_apikey.models import BulkReceipt, Seconds


@click.command("revoke-where")
@served_options
@criteria_options
@click.option("--by", default="", help="Who revokes them, for the records.")
@click.option("--reason", default="", help="Why, for the records.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def revoke_where(session: Session, /, by: str, reason: str, dry_run: bool, yes: bool, **options: object) -> None:
    """End every key that matches, for good and in one step; those that are revoked stay as they are.

    The filters are those of `list`, and at least one is needed:

    asgi-apikey revoke-where --owner acme --tag ci --dry-run
    """
    criteria = criteria_of(options)
    if not criteria:
        raise click.UsageError("name the keys by at least one filter, such as --owner or --tag")
    yes = yes or dry_run
    check_consent(session, yes=yes)

    async def work(desk: Desk) -> BulkReceipt:
        if dry_run:
            return await desk.keys.revoke_where(**criteria, dry_run=True)
        if not yes:
            ask_consent(f"This ends {await ended_by(desk.keys, criteria)}. Revoke?", yes=yes)
        return await desk.keys.revoke_where(**criteria, by=by, reason=reason)

    receipt = session.run(work)
    if session.as_json:
        write_json({"receipt": bulk_fields(receipt)})
        return
    click.echo(f"{counted(receipt.matched, 'key')} {'would be ' if dry_run else ''}revoked")
    if not receipt.confirmed and not dry_run:
        click.echo(f"servers hear of it within {receipt.max_staleness:g} seconds", err=True)


@click.command()
@shared_options
@click.option(
    "--dead-for",
    type=values.duration,
    default="90d",
    show_default=True,
    help="How long ago the keys were revoked, or ended.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def prune(session: Session, dead_for: Seconds, yes: bool) -> None:
    """Delete the records of keys that are dead for long. Their ids stay known as gone."""
    check_consent(session, yes=yes)

    async def work(keys: APIKeys) -> int:
        if not yes:
            what = await pruned_by(keys, session.clock.wall() - dead_for)
            ask_consent(f"This deletes the records of {what}. Prune?", yes=yes)
        return await keys.prune(dead_for=dead_for)

    pruned = session.run_here(work)
    if session.as_json:
        write_json({"pruned": pruned})
    else:
        click.echo(f"{counted(pruned, 'key')} pruned")
