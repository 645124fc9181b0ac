"""Commands that change a key: amend, disable, enable, revoke, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import click

from asgi_apikey.cli import values
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.desk import Desk, Verbs
from asgi_apikey.cli.options import served_options
from asgi_apikey.cli.output import described, receipt_fields, record_fields, write_json
from asgi_apikey.cli.radius import ended_with
from asgi_apikey.cli.session import Session
from asgi_apikey.cli.target import Target, target_of, target_options
from asgi_apikey.models import UNSET, Instant, Metadata, Receipt, Seconds, Unset

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")
_Change: TypeAlias = Callable[[Verbs, str], Awaitable[Receipt]]

_version = click.option(
    "--if-version", "version", type=click.IntRange(min=1), help="Only if the record is still at this version."
)
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")


@click.command()
@served_options
@target_options
@click.option("--name", help='For people; "" removes it.')
@click.option("--description", help='For people; "" removes it.')
@click.option("--scope", "scopes", multiple=True, help="Replaces all scopes; repeat it for more.")
@click.option("--no-scopes", is_flag=True, help="The key may do nothing but say whose it is.")
@click.option("--tag", "tags", multiple=True, help="Replaces all tags; repeat it for more.")
@click.option("--no-tags", is_flag=True, help="Removes all tags.")
@click.option("--network", "networks", multiple=True, help="Replaces all networks; repeat it for more.")
@click.option("--no-networks", is_flag=True, help="The key may be used from everywhere.")
@click.option("--route", "routes", multiple=True, help="Replaces all routes; repeat it for more.")
@click.option("--no-routes", is_flag=True, help="The key may be used for everything.")
@click.option("--limit", "limits", multiple=True, help="Replaces all limits; repeat it for more.")
@click.option("--no-limits", is_flag=True, help="The key has no limits of its own.")
@click.option("--origin", "origins", multiple=True, help="Replaces all origins; repeat it for more.")
@click.option("--no-origins", is_flag=True, help="The key may be used from every web page, and from what is none.")
@click.option(
    "--metadata", multiple=True, type=values.metadata, help="Replaces all metadata: name=text or a JSON object."
)
@click.option("--no-metadata", is_flag=True, help="Removes all metadata.")
@click.option("--not-before", type=values.instant, help="The key does not work before: 2027-01-31T00:00:00Z.")
@click.option("--no-start", is_flag=True, help="Removes --not-before: the key works from now on.")
@click.option("--expires-in", type=values.duration, help="The key ends after: 90d, 12h, 30m from now.")
@click.option("--expires-at", type=values.instant, help="The key ends at: 2027-01-31T00:00:00Z.")
@click.option("--no-expiry", is_flag=True, help="The key has no end.")
@_version
@click.pass_obj
def amend(
    session: Session,
    key_id: str | None,
    key: bool,
    name: str | None,
    description: str | None,
    scopes: tuple[str, ...],
    no_scopes: bool,
    tags: tuple[str, ...],
    no_tags: bool,
    networks: tuple[str, ...],
    no_networks: bool,
    routes: tuple[str, ...],
    no_routes: bool,
    limits: tuple[str, ...],
    no_limits: bool,
    origins: tuple[str, ...],
    no_origins: bool,
    metadata: tuple[Metadata, ...],
    no_metadata: bool,
    not_before: Instant | None,
    no_start: bool,
    expires_in: Seconds | None,
    expires_at: Instant | None,
    no_expiry: bool,
    version: int | None,
) -> None:
    """Change what is given and leave the rest."""
    _at_most_one({"--scope": bool(scopes), "--no-scopes": no_scopes})
    _at_most_one({"--tag": bool(tags), "--no-tags": no_tags})
    _at_most_one({"--network": bool(networks), "--no-networks": no_networks})
    _at_most_one({"--route": bool(routes), "--no-routes": no_routes})
    _at_most_one({"--limit": bool(limits), "--no-limits": no_limits})
    _at_most_one({"--origin": bool(origins), "--no-origins": no_origins})
    _at_most_one({"--metadata": bool(metadata), "--no-metadata": no_metadata})
    _at_most_one({"--not-before": not_before is not None, "--no-start": no_start})
    _at_most_one(
        {"--expires-in": expires_in is not None, "--expires-at": expires_at is not None, "--no-expiry": no_expiry}
    )
    if expires_in is not None:
        expires_at = session.clock.wall() + expires_in
    new_name = _given(name)
    new_description = _given(description)
    new_scopes = scopes if scopes or no_scopes else UNSET
    new_tags = tags if tags or no_tags else UNSET
    new_networks = networks if networks or no_networks else UNSET
    new_routes = routes if routes or no_routes else UNSET
    new_limits = limits if limits or no_limits else UNSET
    new_origins = origins if origins or no_origins else UNSET
    new_metadata = values.merged(metadata) if metadata or no_metadata else UNSET
    new_start = None if no_start else _given(not_before)
    new_end = None if no_expiry else _given(expires_at)
    texts = (new_name, new_description, new_metadata)
    rights = (new_scopes, new_tags, new_networks, new_routes, new_limits, new_origins)
    if all(each is UNSET for each in (*texts, *rights, new_start, new_end)):
        raise click.UsageError("nothing to amend: give at least one of the options that change something")

    async def change(keys: Verbs, key_id: str) -> Receipt:
        return await keys.amend(
            key_id,
            name=new_name,
            description=new_description,
            scopes=new_scopes,
            tags=new_tags,
            networks=new_networks,
            routes=new_routes,
            limits=new_limits,
            origins=new_origins,
            metadata=new_metadata,
            not_before=new_start,
            expires_at=new_end,
            version=version,
        )

    _carry_out(session, target_of(session, key_id, key), change, done="amended")


@click.command()
@served_options
@target_options
@_version
@click.pass_obj
def disable(session: Session, key_id: str | None, key: bool, version: int | None) -> None:
    """Switch a key off until it is enabled again."""

    async def change(keys: Verbs, key_id: str) -> Receipt:
        return await keys.disable(key_id, version=version)

    _carry_out(session, target_of(session, key_id, key), change, done="disabled")


@click.command()
@served_options
@target_options
@_version
@click.pass_obj
def enable(session: Session, key_id: str | None, key: bool, version: int | None) -> None:
    """Switch a disabled key on."""

    async def change(keys: Verbs, key_id: str) -> Receipt:
        return await keys.enable(key_id, version=version)

    _carry_out(session, target_of(session, key_id, key), change, done="enabled")


@click.command()
@served_options
@target_options
@click.option("--by", default="", help="Who revokes it, for the record.")
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--only", is_flag=True, help="Leave the keys that it replaced, or that replaced it, alone.")
@_version
@_yes
@click.pass_obj
def revoke(
    session: Session,
    key_id: str | None,
    key: bool,
    by: str,
    reason: str,
    only: bool,
    version: int | None,
    yes: bool,
) -> None:
    """End a key for good, and with it its lineage: the keys that it replaced, and those that replaced it.

    The records stay. Revoking it again does no harm.
    """
    check_consent(session, yes=yes)

    async def change(keys: Verbs, key_id: str) -> Receipt:
        return await keys.revoke(key_id, by=by, reason=reason, only=only, version=version)

    target = target_of(session, key_id, key)
    _carry_out(session, target, change, done="revoked", ask="Revoke", yes=yes, lineage=not only)


@click.command()
@served_options
@target_options
@_version
@_yes
@click.pass_obj
def delete(session: Session, key_id: str | None, key: bool, version: int | None, yes: bool) -> None:
    """Remove a key and its record. To end a key, revoke it: that keeps the record."""
    check_consent(session, yes=yes)

    async def change(keys: Verbs, key_id: str) -> Receipt:
        return await keys.delete(key_id, version=version)

    target = target_of(session, key_id, key)
    _carry_out(session, target, change, done="deleted", ask="Delete the record of", yes=yes)


def _carry_out(
    session: Session,
    target: Target,
    change: _Change,
    *,
    done: str,
    ask: str = "",
    yes: bool = True,
    lineage: bool = False,
) -> None:
    """Find the key, ask where that is wanted, change it, and say what is known about the effect."""

    async def work(desk: Desk) -> Receipt:
        record = await target.record(desk)
        if not yes:
            what = await ended_with(desk.keys, record) if lineage else described(record)
            ask_consent(f"{ask} {what}?", yes=yes)
        return await change(desk.keys, record.key_id)

    receipt = session.run(work)
    if session.as_json:
        fields = record_fields(receipt.record, session.clock.wall())
        write_json({"record": fields, "receipt": receipt_fields(receipt)})
        return
    click.echo(f"{receipt.record.key_id} {done}")
    if not receipt.confirmed:
        click.echo(
            f"servers that have seen the key lately hear of it within {receipt.max_staleness:g} seconds", err=True
        )


def _given(value: T | None) -> T | Unset:
    return UNSET if value is None else value


def _at_most_one(options: dict[str, bool]) -> None:
    """Refuse options that contradict each other.

    Raises:
        UsageError: More than one of them is there.
    """
    given = [name for name, there in options.items() if there]
    if len(given) > 1:
        raise click.UsageError(f"give {' or '.join(given)}, not both")
