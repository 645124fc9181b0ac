"""Commands about the audit: verify it, show its end, export it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.audit import AuditHead, AuditReport
from asgi_apikey.cli import values
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.options import served_options, shared_options
from asgi_apikey.cli.output import cell, rfc3339, write_json, write_table
from asgi_apikey.cli.session import Session
from asgi_apikey.models import AuditEntry, JSONValue

_HEADINGS = ("NUMBER", "AT", "ACTOR", "ACTION", "KEY ID", "VERSION", "FIELDS", "REASON", "CORRELATION ID")
_HEAD_FIELDS = {"database_id": str, "number": int, "seq": int, "mac": str, "signature": str}


@click.group()
@served_options
def audit() -> None:
    """Who changed which key, when and why: verify, tail, export."""


@audit.command()
@shared_options
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.File("r", encoding="utf-8"),
    help="A file that `audit export` wrote: what it vouches for must still be there. May be repeated.",
)
@click.pass_obj
def verify(session: Session, heads: tuple[IO[str], ...]) -> None:
    """Look for entries that were changed, removed, moved or made up. Exits 0 if there are none, 1 if there are.

    Give it ASGI_APIKEY_AUDIT_KEY, and the newest export that is kept where nobody who can write to the store can
    write: without either, whoever rewrites the whole audit is not found out.
    """
    known = [_head_in(each) for each in heads]

    async def work(keys: APIKeys) -> AuditReport:
        return await keys.audit.verify(*known)

    report = session.run_here(work)
    if session.as_json:
        write_json(
            {
                "sound": report.sound,
                "entries": report.entries,
                "keyed": report.keyed,
                "head": None if report.head is None else asdict(report.head),
                "findings": [{"number": each.number, "what": each.what} for each in report.findings],
            }
        )
    else:
        _tell(report, beside_a_head=bool(known))
    if not report.sound:
        sys.exit(1)


@audit.command()
@served_options
@click.option("--count", "-n", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--key-id", type=values.key_id, help="Only entries about this key.")
@click.pass_obj
def tail(session: Session, count: int, key_id: str | None) -> None:
    """Show the newest entries, the newest last."""

    async def work(desk: Desk) -> list[AuditEntry]:
        return [*await desk.entries(count, key_id=key_id)]

    entries = session.run(work)
    if session.as_json:
        write_json({"entries": [entry_fields(each) for each in entries]})
    elif entries:
        write_table(_HEADINGS, [_row(each) for each in entries])
    else:
        click.echo("no such entries", err=True)


@audit.command()
@shared_options
@click.option(
    "--output", "-o", type=click.File("w", encoding="utf-8", atomic=True), default="-", help="Default: standard output."
)
@click.option("--only-head", is_flag=True, help="Only the last line: all that a later `verify --head` needs.")
@click.pass_obj
def export(session: Session, output: IO[str], only_head: bool) -> None:
    """Write all entries as JSON Lines, and as the last line the signed head.

    Keep it where nobody who can write to the store can write. No secret is in it.
    """

    async def work(keys: APIKeys) -> None:
        newest = None
        anchor = await keys.audit.anchor()
        async for entry in keys.audit.entries(anchor, after=max(0, anchor.entries - 1) if only_head else 0):
            newest = entry
            if not only_head:
                _write_line(output, entry_fields(entry))
        _write_line(output, {"head": asdict(keys.audit.head_at(anchor, newest))})

    session.run_here(work)


def entry_fields(entry: AuditEntry) -> dict[str, JSONValue]:
    """Return an entry by the names that stay. With `at` as Unix seconds too, its seal can be computed again."""
    return {
        "number": entry.number,
        "seq": entry.seq,
        "at": rfc3339(entry.at),
        "at_unix": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "key_id": entry.key_id,
        "tenant": entry.tenant,
        "version": entry.version,
        "fields": entry.fields,
        "reason": entry.reason,
        "correlation_id": entry.correlation_id,
        "mac": entry.mac,
    }


def _tell(report: AuditReport, *, beside_a_head: bool) -> None:
    for each in report.findings:
        click.echo(f"entry {each.number}: {each.what}" if each.number is not None else each.what, err=True)
    if not report.sound:
        click.echo(f"{report.entries} entries: the audit is not sound")
        return
    click.echo(f"{report.entries} entries: the audit is sound")
    if not report.keyed and not beside_a_head:
        click.echo(
            "Seals are plain SHA-256: an audit that was rewritten as a whole looks sound. Set ASGI_APIKEY_AUDIT_KEY, "
            "or compare with an export: --head",
            err=True,
        )


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        str(entry.number),
        cell(rfc3339(entry.at)),
        cell(entry.actor),
        cell(entry.action),
        cell(entry.key_id),
        str(entry.version),
        cell(entry.fields),
        cell(entry.reason),
        cell(entry.correlation_id),
    )


def _write_line(output: IO[str], fields: Mapping[str, JSONValue]) -> None:
    output.write(json.dumps(fields) + "\n")


def _head_in(source: IO[str]) -> AuditHead:
    """Return the head on the last line of an export.

    Raises:
        BadParameter: There is none.
    """
    last = ""
    for line in source:
        last = line.strip() or last
    try:
        fields = json.loads(last)["head"]
        head = {name: fields[name] for name in _HEAD_FIELDS}
        fits = all(type(head[name]) is kind for name, kind in _HEAD_FIELDS.items())
    except (ValueError, KeyError, TypeError, RecursionError):
        fits = False
    if not fits:
        raise click.BadParameter(
            f"{source.name} does not end with a head; was it cut off? `audit export` writes one", param_hint="--head"
        )
    return AuditHead(**head)
