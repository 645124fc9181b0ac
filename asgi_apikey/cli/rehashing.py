"""The command that tells which digests are left under which scheme and pepper."""

from __future__ import annotations

import sys

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.census import Census, Making, counted
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_json, write_table
from asgi_apikey.cli.progress import Bar
from asgi_apikey.cli.session import Session
from asgi_apikey.models import JSONValue


@click.command()
@shared_options
@click.option("--status", is_flag=True, required=True, help="Count; nothing is changed.")
@click.option("--without", metavar="NAME", help="Exit 1 if keys need this scheme, or the pepper with this id.")
@click.pass_obj
def rehash(session: Session, status: bool, without: str | None) -> None:
    """Count keys by the scheme and the pepper of their digests, to tell when an old one can be dropped.

    An outdated digest is replaced when its key is used. Keys that nobody uses keep theirs: issue them anew, or revoke
    them. Exits 1 when keys have digests that these settings cannot compare.
    """

    async def work(keys: APIKeys) -> Census:
        census = Census()
        with Bar(session, "counted") as bar:
            async for census in counted(keys.repository.archive, keys.hasher, now=session.clock.wall()):
                bar.show(census.keys)
        return census

    census = session.run_here(work)
    needing = None if without is None else census.needing(without)
    _write(session, census, without, needing)
    if census.stranded or needing:
        sys.exit(1)


def _write(session: Session, census: Census, without: str | None, needing: int | None) -> None:
    makings = sorted(census.usable.keys() | census.over.keys())
    if session.as_json:
        rows: list[JSONValue] = [_fields(census, each) for each in makings]
        write_json({"keys": census.keys, "digests": rows, "stranded": census.stranded, "needing": needing})
        return
    headings = ("SCHEME", "PEPPER", "USABLE", "OVER", "STATE")
    write_table(headings, [_row(census, each) for each in makings])
    if without is not None:
        click.echo(f"{needing:,} keys need {without}" if needing else f"no key needs {without}")
    if census.stranded:
        click.echo(
            f"{census.stranded:,} keys cannot be verified: give back the pepper or the scheme, or revoke the keys",
            err=True,
        )


def _row(census: Census, making: Making) -> tuple[str, ...]:
    usable, over = census.usable[making], census.over[making]
    return making.scheme, making.pepper_id or "-", f"{usable:,}", f"{over:,}", _state(census, making)


def _fields(census: Census, making: Making) -> JSONValue:
    return {
        "scheme": making.scheme,
        "pepper": making.pepper_id or None,
        "usable": census.usable[making],
        "over": census.over[making],
        "state": _state(census, making),
    }


def _state(census: Census, making: Making) -> str:
    if making in census.refused:
        return "not given here"
    return "outdated" if making in census.outdated else "current"
