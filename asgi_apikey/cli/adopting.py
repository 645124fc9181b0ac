"""The command that takes the keys of another system over: a plan first, then the import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import anyio
import click

from asgi_apikey.adopted.catalogue import TABLES, table_of
from asgi_apikey.adopted.sources import source_of
from asgi_apikey.adopted.systems import Terms
from asgi_apikey.adopted.taking import Taking, Tally
from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import cell, write_json
from asgi_apikey.cli.progress import Bar
from asgi_apikey.cli.session import Session
from asgi_apikey.models import Actor, Imported, JSONValue, KeyRecord

_VARIABLE = "ADOPT_DATABASE_URL"


@click.command()
@shared_options
@click.option(
    "--from", "system", type=click.Choice([each.system for each in TABLES]), required=True, help="Whose keys."
)
@click.option(
    "--database-url",
    envvar=_VARIABLE,
    required=True,
    metavar="URL|FILE",
    help=f"Their database, which is only read: sqlite:///…, postgresql://…; or an export: .json, .jsonl, .csv. A URL "
    f"with a password is better in {_VARIABLE}.",
)
@click.option("--table", metavar="NAME", help="Where their keys are, if not where they usually are.")
@click.option("--owner", default="", help="Of keys that have none there.")
@click.option("--tenant", default="", help="That all of them belong to.")
@click.option("--environment", help="That they are for. Default: that of this store.")
@click.option("--by", default="", help="Who does it, for the audit.")
@click.option("--follow", is_flag=True, help="End here what was taken over before and has ended there since.")
@click.option("--dry-run", is_flag=True, help="Show the plan only.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def adopt(
    session: Session,
    system: str,
    database_url: str,
    table: str | None,
    owner: str,
    tenant: str,
    environment: str | None,
    by: str,
    follow: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Take over the keys of another system: their digests as they are; it goes on working meanwhile.

    May be interrupted and repeated: what is here is left as it is, what has come there since is added. Servers accept
    the keys once they are told of the system. Exits 1 when something could not be taken.
    """
    if not dry_run:
        check_consent(session, yes=yes)
    found = table_of(system)
    found = found if table is None else replace(found, name=table)
    terms = Terms(
        now=session.clock.wall(),
        environment=environment or session.settings().environment,
        owner=owner,
        tenant=tenant,
    )
    taking = Taking(source_of(database_url, found), found, terms=terms)
    # Without our store: nothing has to be there yet.
    tally = anyio.run(_planned, session, taking)
    if dry_run or not session.as_json:
        _write_plan(session, tally)
    if not dry_run:
        if tally.takeable:
            ask_consent(f"Take over {tally.takeable:,} keys?", yes=yes)
            tally = session.run_here(lambda keys: _taken(session, keys, taking, Actor(by), follow), create=True)
        _write_outcome(session, tally, followed=follow)
    if tally.left_out or tally.conflicts:
        sys.exit(1)


async def _planned(session: Session, taking: Taking) -> Tally:
    tally = Tally()
    with Bar(session, "rows read") as bar:
        async for tally in taking.plan():
            bar.show(tally.rows)
    return tally


async def _taken(session: Session, keys: APIKeys, taking: Taking, actor: Actor, follow: bool) -> Tally:
    async def put(records: Sequence[KeyRecord]) -> Imported:
        return await keys.import_records(records, actor=actor)

    async def end(there: KeyRecord) -> None:
        if there.revoked_at is not None:
            await keys.revoke(there.key_id, by=there.revoked_by, reason=there.revoke_reason, wait=False, actor=actor)
        else:
            await keys.disable(there.key_id, actor=actor)

    tally = Tally()
    with Bar(session, "rows taken over") as bar:
        async for tally in taking.take(put, keys.repository, follow=end if follow else None):
            bar.show(tally.rows)
    return tally


def _write_plan(session: Session, plan: Tally) -> None:
    statuses: dict[str, JSONValue] = {each.value: count for each, count in sorted(plan.statuses.items())}
    if session.as_json:
        write_json({"rows": plan.rows, "takeable": statuses, "left_out": _left_out(plan)})
        return
    kinds = ", ".join(f"{count:,} {each.value.replace('_', ' ')}" for each, count in sorted(plan.statuses.items()))
    click.echo(f"{plan.rows:,} rows, {plan.takeable:,} can be taken over{f': {kinds}' if kinds else ''}")
    _write_left_out(plan)


def _write_outcome(session: Session, done: Tally, *, followed: bool) -> None:
    if session.as_json:
        write_json(
            {
                "rows": done.rows,
                "added": done.added,
                "present": done.present,
                "conflicts": done.conflicts,
                "conflicting": list(done.conflicting),
                "ended": done.ends,
                "followed": followed,
                "left_out": _left_out(done),
            }
        )
        return
    click.echo(
        f"{done.added:,} keys added, {done.present:,} were here already, {done.conflicts:,} in conflict, "
        f"{done.rows - done.takeable:,} left out"
    )
    if done.conflicting:
        click.echo(f"another key has the id: {' '.join(done.conflicting)}", err=True)
    if done.ended and followed:
        click.echo(f"{done.ends:,} keys have ended there since, and now here, too")
    elif done.ended:
        click.echo(
            f"{done.ends:,} keys have ended there since and work here; --follow ends them: {' '.join(done.ended)}",
            err=True,
        )


def _write_left_out(tally: Tally) -> None:
    for reason, left in sorted(tally.left_out.items()):
        more = ", …" if left.count > len(left.rows) else ""
        click.echo(f"{left.count:,} cannot be: {reason} ({', '.join(map(cell, left.rows))}{more})", err=True)


def _left_out(tally: Tally) -> dict[str, JSONValue]:
    return {reason: {"count": left.count, "rows": list(left.rows)} for reason, left in sorted(tally.left_out.items())}
