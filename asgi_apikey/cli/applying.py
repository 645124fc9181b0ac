"""The command that makes the store match a file: a diff first, then create, amend, revoke."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import cell, rfc3339, write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.declarations import Declaration, Plan, mark_of, plan, read
from asgi_apikey.errors import ConfigurationError, InvalidRequest
from asgi_apikey.models import Actor, JSONValue, KeyRecord

_INSTANTS = {"expires_at"}


@dataclass(frozen=True, slots=True)
class _File:
    """What was read.

    Attributes:
        given: Whole keys from variables, by name of the declaration.
    """

    file_id: str
    declared: tuple[Declaration, ...]
    given: dict[str, str]


@click.command()
@shared_options
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--dry-run", is_flag=True, help="Show the diff only. Exits 1 if there is one.")
@click.option(
    "--secrets",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file for the keys that are made: API_KEY_<NAME>=<key>, mode 0600. Written nowhere else.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def apply(session: Session, file: IO[str], dry_run: bool, secrets: Path | None, yes: bool) -> None:
    """Create, amend and revoke keys until the store matches a TOML file; other keys are never touched.

    Repeating it changes nothing. A key is made for each [[key]] without `key_env`, and written to --secrets.
    """
    settings = session.settings()
    file_id, declared = read(file.read(), environment=settings.environment)
    wanted = _File(file_id, declared, _given(declared, session))
    if not dry_run:
        check_consent(session, yes=yes)

    async def work(keys: APIKeys) -> Plan:
        steps = plan(
            wanted.declared,
            await _managed(keys, mark_of(file_id)),
            key_ids={name: keys.format.parse(key.encode()).key_id for name, key in wanted.given.items()},
            now=session.clock.wall(),
        )
        if session.as_json:
            write_json(_document(steps, applied=not dry_run))
        else:
            _show(steps)
        if steps.empty or dry_run:
            return steps
        _check_secrets(steps, secrets)
        ask_consent("Apply this?", yes=yes)
        await _carry_out(keys, steps, wanted, secrets)
        return steps

    steps = session.run_here(work, create=not dry_run)
    if dry_run and not steps.empty:
        sys.exit(1)
    if not dry_run and not steps.empty and not session.as_json:
        click.echo("applied")


def _given(declared: Collection[Declaration], session: Session) -> dict[str, str]:
    """Return the keys that come from variables.

    Raises:
        ConfigurationError: A variable is empty or missing, or names a secret of the server.
    """
    keys = {}
    for each in declared:
        if each.key_env is None:
            continue
        key = session.environ.get(each.key_env, "")
        if not key or each.key_env.startswith("ASGI_APIKEY_"):
            raise ConfigurationError(f"key {each.request.name!r}: {each.key_env} does not hold a key")
        keys[each.request.name] = key
    return keys


async def _managed(keys: APIKeys, mark: str) -> list[KeyRecord]:
    """Return all records that carry the file's mark."""
    records: list[KeyRecord] = []
    cursor = None
    while True:
        page = await keys.find(created_by=mark, revoked=False, limit=100, cursor=cursor)
        records += page.records
        cursor = page.next_cursor
        if cursor is None:
            return records


def _check_secrets(steps: Plan, secrets: Path | None) -> None:
    """Make no key that nobody would see.

    Raises:
        UsageError: Keys would be made, and there is no new file to write them to.
    """
    if all(each.key_env is not None for each in steps.create):
        return
    if secrets is None:
        raise click.UsageError("keys would be made: say where to write them, --secrets FILE")
    if secrets.exists():
        raise click.UsageError(f"{secrets} is there already; keys are only ever written to a new file")


async def _carry_out(keys: APIKeys, steps: Plan, wanted: _File, secrets: Path | None) -> None:
    """Create first and revoke last: whoever is interrupted has a key too many, not one too few."""
    actor = Actor(mark_of(wanted.file_id))
    for each in steps.create:
        request = each.request
        if each.key_env is not None:
            adopted = await keys.adopt(wanted.given[request.name], request, actor=actor)
            if not adopted.added:
                raise InvalidRequest(
                    f"key {adopted.record.key_id} from {each.key_env} is in the store already, revoked or not this "
                    "file's: put another key there"
                )
            continue
        assert secrets is not None
        issued = await keys.issue(
            owner=request.owner,
            tenant=request.tenant,
            environment=request.environment,
            name=request.name,
            description=request.description,
            scopes=request.scopes,
            tags=request.tags,
            networks=request.networks,
            routes=request.routes,
            limits=request.limits,
            origins=request.origins,
            metadata=request.metadata,
            expires_at=request.expires_at,
            created_by=request.created_by,
            actor=actor,
        )
        _write_secret(secrets, request.name, issued.key)
    for amendment in steps.amend:
        patch = amendment.patch
        await keys.amend(
            amendment.record.key_id,
            description=patch.description,
            scopes=patch.scopes,
            tags=patch.tags,
            networks=patch.networks,
            routes=patch.routes,
            limits=patch.limits,
            origins=patch.origins,
            metadata=patch.metadata,
            expires_at=patch.expires_at,
            version=amendment.record.version,
            actor=actor,
        )
    for record in steps.revoke:
        await keys.revoke(record.key_id, by=actor.name, reason="no longer declared", actor=actor, only=True)


def _write_secret(path: Path, name: str, key: str) -> None:
    """Append one key, and have it on the disk before the next one is made."""
    variable = "".join(char if char.isalnum() and char.isascii() else "_" for char in name).upper()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"API_KEY_{variable}={key}\n")
        file.flush()
        os.fsync(descriptor)


def _show(steps: Plan) -> None:
    for each in steps.create:
        request, origin = each.request, each.key_env or "a new key"
        click.echo(f"+ {cell(request.name)}  of {cell(request.owner)} ({request.environment}), from {cell(origin)}")
    for amendment in steps.amend:
        click.echo(f"~ {cell(amendment.record.name)}  {amendment.record.key_id}")
        for name, old, new in amendment.changed:
            click.echo(f"    {name}: {cell(_shown(name, old))} -> {cell(_shown(name, new))}")
    for record in steps.revoke:
        click.echo(f"- {cell(record.name)}  {record.key_id} of {cell(record.owner)}")
    if steps.empty:
        click.echo("nothing to do")


def _document(steps: Plan, *, applied: bool) -> dict[str, JSONValue]:
    return {
        "create": [{"name": each.request.name, "owner": each.request.owner} for each in steps.create],
        "amend": [
            {
                "key_id": each.record.key_id,
                "name": each.record.name,
                "changed": {name: [_shown(name, old), _shown(name, new)] for name, old, new in each.changed},
            }
            for each in steps.amend
        ],
        "revoke": [{"key_id": each.key_id, "name": each.name} for each in steps.revoke],
        "dry_run": not applied,
    }


def _shown(name: str, value: object) -> JSONValue:
    if name in _INSTANTS:
        return rfc3339(value if isinstance(value, float | int) else None)
    if isinstance(value, frozenset):
        return sorted(value)
    return value  # type: ignore[return-value]  # the other fields are text and JSON objects
