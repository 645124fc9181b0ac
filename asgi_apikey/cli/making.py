"""Commands that make a key: the only ones that print one, once, alone on standard output."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial

import click

from asgi_apikey.cli import values
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options
from asgi_apikey.cli.output import described, receipt_fields, record_fields, rfc3339, write_fields, write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.target import target_of, target_options
from asgi_apikey.errors import APIKeyError
from asgi_apikey.models import Instant, IssuedKey, JSONValue, KeyRecord, Metadata, Seconds, Status
from asgi_apikey.verification import status_of

_SHOWN = (
    *("key_id", "owner", "tenant", "environment", "name", "scopes", "tags", "networks", "routes"),
    "limits",
    "origins",
    *("not_before", "expires_at", "replaces"),
)


@click.command()
@served_options
@click.option("--owner", required=True, help="The account that the key belongs to.")
@click.option("--tenant", default="", help="The isolation boundary around owners.")
@click.option("--environment", help="Default: ASGI_APIKEY_ENVIRONMENT.")
@click.option("--name", default="", help="For people: what the key is for.")
@click.option("--description", default="", help="For people, longer.")
@click.option("--scope", "scopes", multiple=True, help="What the key may do; repeat it for more.")
@click.option("--tag", "tags", multiple=True, help="For finding it, and acting on many; repeat it for more.")
@click.option("--network", "networks", multiple=True, help="Where it may be used: 10.0.0.0/8, or !10.1.0.0/16 not.")
@click.option("--route", "routes", multiple=True, help="What it may be used for: 'GET,POST /orders/*'.")
@click.option("--limit", "limits", multiple=True, help="How much: 100/minute, 'quota 2000/day', 'credits 500'.")
@click.option("--origin", "origins", multiple=True, help="The web pages it may be used from: https://app.example.com.")
@click.option("--metadata", multiple=True, type=values.metadata, help="name=text or a JSON object; may be repeated.")
@click.option("--not-before", type=values.instant, help="The key does not work before: 2027-01-31T00:00:00Z.")
@click.option("--expires-in", type=values.duration, help="The key ends after: 90d, 12h, 30m.")
@click.option("--expires-at", type=values.instant, help="The key ends at: 2027-01-31T00:00:00Z.")
@click.option("--created-by", default="", help="Who asked for it, for the record.")
@click.option("--quiet", "-q", is_flag=True, help="Print the key and nothing else.")
@click.pass_obj
def issue(
    session: Session,
    owner: str,
    tenant: str,
    environment: str | None,
    name: str,
    description: str,
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    networks: tuple[str, ...],
    routes: tuple[str, ...],
    limits: tuple[str, ...],
    origins: tuple[str, ...],
    metadata: tuple[Metadata, ...],
    not_before: Instant | None,
    expires_in: Seconds | None,
    expires_at: Instant | None,
    created_by: str,
    quiet: bool,
) -> None:
    """Make a key and print it, this once; creates the store if there is none.

    The key alone goes to standard output, what there is to say about it to standard error:

    KEY=$(asgi-apikey issue --owner acme --scope orders:read --expires-in 90d)
    """
    if expires_in is not None and expires_at is not None:
        raise click.UsageError("give --expires-in or --expires-at, not both")
    _check_output()
    entries = values.merged(metadata)

    async def work(desk: Desk) -> IssuedKey:
        return await desk.keys.issue(
            owner=owner,
            tenant=tenant,
            environment=environment,
            name=name,
            description=description,
            scopes=scopes,
            tags=tags,
            networks=networks,
            routes=routes,
            limits=limits,
            origins=origins,
            metadata=entries,
            not_before=not_before,
            expires_in=expires_in,
            expires_at=expires_at,
            created_by=created_by,
        )

    _hand_over(session, session.run(work, create=True), None, quiet=quiet)


@click.command()
@served_options
@target_options
@click.option(
    "--grace",
    type=values.duration,
    help="How long the replaced key still works; default: 1d, or, where it was rotated before, as long as then.",
)
@click.option("--created-by", default="", help="Who asked for it, for the record.")
@click.option(
    "--if-version", "version", type=click.IntRange(min=1), help="Only if the record is still at this version."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --grace 0.")
@click.option("--quiet", "-q", is_flag=True, help="Print the new key and nothing else.")
@click.pass_obj
def rotate(
    session: Session,
    key_id: str | None,
    key: bool,
    grace: Seconds | None,
    created_by: str,
    version: int | None,
    yes: bool,
    quiet: bool,
) -> None:
    """Make a successor with the same rights and lifetime, and print it, this once.

    The replaced key works until its grace is over. After a leak: --grace 0. Where the new key got lost, do it again:
    the one that nobody has used is revoked.
    """
    _check_output()
    yes = yes or grace != 0
    check_consent(session, yes=yes)
    target = target_of(session, key_id, key)

    async def work(desk: Desk) -> tuple[IssuedKey, KeyRecord | None]:
        record = await target.record(desk)
        ask_consent(f"End {described(record)} now?", yes=yes)
        issued = await desk.keys.rotate(record.key_id, grace=grace, created_by=created_by, version=version)
        with suppress(APIKeyError):  # the new key has to be shown, whatever else goes wrong now
            return issued, await desk.keys.get(record.key_id)
        return issued, None

    issued, replaced = session.run(work)
    _hand_over(session, issued, replaced, quiet=quiet)


def _check_output() -> None:
    """Make no key that nobody could see.

    Raises:
        UsageError: Standard output is closed; Python would then drop the key without a word.
    """
    if sys.stdout is None:
        raise click.UsageError("standard output is closed, and the key would be shown nowhere else")


def _hand_over(session: Session, issued: IssuedKey, replaced: KeyRecord | None, *, quiet: bool) -> None:
    """Print a new key. What went to standard error before lets its record be found if the key gets lost here.

    Raises:
        ClickException: Standard output did not take the key.
    """
    now = session.clock.wall()
    fields = record_fields(issued.record, now)
    if session.as_json:
        document: dict[str, JSONValue] = {
            "key": issued.key,
            "record": fields,
            "receipt": None if issued.receipt is None else receipt_fields(issued.receipt),
            "replaced_until": None if replaced is None else rfc3339(replaced.expires_at),
        }
        show = partial(write_json, document)
    else:
        show = partial(click.echo, issued.key)
        if not quiet:
            write_fields({name: fields[name] for name in _SHOWN}, err=True)
            if replaced is not None:
                click.echo(_last_words(replaced, now), err=True)
            click.echo("This is the only time the key is shown:", err=True)
    try:
        show()
    except OSError as error:
        # Python would flush what could not be written again at exit, and fail again, with a trace.
        sys.stdout = None
        raise click.ClickException(
            f"key {issued.record.key_id} was made, but could not be written: {error.strerror}; "
            "nobody has it now, so revoke it and make another"
        ) from error


def _last_words(replaced: KeyRecord, now: Instant) -> str:
    """Return until when a replaced key works."""
    if status_of(replaced, now) is not Status.ACTIVE:
        return f"The replaced key {replaced.key_id} does not work any more."
    return f"The replaced key {replaced.key_id} works until {rfc3339(replaced.expires_at)}."
