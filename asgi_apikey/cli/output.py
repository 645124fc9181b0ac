"""What is shown of keys: one list of fields, as JSON and as tables. No digest and no key is among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import click

from asgi_apikey.models import BulkReceipt, Instant, JSONValue, KeyRecord, Principal, Receipt
from asgi_apikey.verification import status_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCOPES_IN_A_CELL = 3
_HEADINGS = ("KEY ID", "OWNER", "ENVIRONMENT", "STATUS", "NAME", "SCOPES", "EXPIRES", "LAST USED")


def rfc3339(at: Instant | None) -> str | None:
    """Return the instant as RFC 3339 in UTC, to the millisecond, in which all our instants are kept."""
    if at is None:
        return None
    # Rounded first: `isoformat` cuts off, and floats of far years lie microseconds below what they stand for.
    exact = _EPOCH + timedelta(milliseconds=round(at * 1000))
    return exact.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def record_fields(record: KeyRecord, now: Instant) -> dict[str, JSONValue]:
    """Return what may be shown of a record, by the names that stay.

    Written out, so that a new column is shown by decision only.
    """
    return {
        "key_id": record.key_id,
        "status": status_of(record, now).value,
        "owner": record.owner,
        "tenant": record.tenant,
        "environment": record.environment,
        "name": record.name,
        "description": record.description,
        "hint": record.hint,
        "scopes": sorted(record.scopes),
        "tags": sorted(record.tags),
        "networks": sorted(record.networks),
        "routes": sorted(record.routes),
        "limits": sorted(record.limits),
        "origins": sorted(record.origins),
        "metadata": record.metadata,
        "created_at": rfc3339(record.created_at),
        "created_by": record.created_by,
        "not_before": rfc3339(record.not_before),
        "expires_at": rfc3339(record.expires_at),
        "disabled_at": rfc3339(record.disabled_at),
        "revoked_at": rfc3339(record.revoked_at),
        "revoked_by": record.revoked_by,
        "revoke_reason": record.revoke_reason,
        "replaces": record.replaces,
        "lineage": record.lineage,
        "last_used_at": rfc3339(record.last_used_at),
        "uses": record.uses,
        "version": record.version,
    }


def principal_fields(principal: Principal) -> dict[str, JSONValue]:
    """Return a principal by the names of its attributes."""
    return {
        "key_id": principal.key_id,
        "owner": principal.owner,
        "tenant": principal.tenant,
        "environment": principal.environment,
        "name": principal.name,
        "scopes": sorted(principal.scopes),
        "metadata": principal.metadata,
        "expires_at": rfc3339(principal.expires_at),
        "method": principal.method,
        "account": principal.account,
    }


def receipt_fields(receipt: Receipt) -> dict[str, JSONValue]:
    """Return what a receipt says beside the record; durations are seconds."""
    return {
        "confirmed": receipt.confirmed,
        "workers": receipt.workers,
        "acknowledged": receipt.acknowledged,
        "elapsed": receipt.elapsed,
        "max_staleness": receipt.max_staleness,
    }


def bulk_fields(receipt: BulkReceipt) -> dict[str, JSONValue]:
    """Return what is known about a change of many keys."""
    return {
        "matched": receipt.matched,
        "key_ids": list(receipt.key_ids),
        "dry_run": receipt.dry_run,
        "confirmed": receipt.confirmed,
        "workers": receipt.workers,
        "acknowledged": receipt.acknowledged,
        "elapsed": receipt.elapsed,
        "max_staleness": receipt.max_staleness,
    }


def write_json(value: Mapping[str, JSONValue], *, err: bool = False) -> None:
    """Print one JSON document on one line, in ASCII, so that every terminal and every pipe can take it."""
    click.echo(json.dumps(value, default=dict), err=err)


def write_fields(fields: Mapping[str, JSONValue], *, err: bool = False) -> None:
    """Print one field per line, names aligned."""
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        click.echo(f"{name:{width}}  {cell(value)}", err=err)


def write_records(records: Sequence[KeyRecord], now: Instant) -> None:
    """Print records as a table, one per line."""
    write_table(_HEADINGS, [_row(record, now) for record in records])


def write_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells under their headings, columns aligned."""
    lines = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        padded = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def described(record: KeyRecord) -> str:
    """Name a key in a question, so that a person recognises it."""
    name = f", {cell(record.name)}" if record.name else ""
    return f"key {record.key_id} of {cell(record.owner)} ({record.environment}{name})"


def cell(value: JSONValue) -> str:
    """Return a value for a person's eyes, on one line.

    Line ends, terminal controls and invisible characters are shown escaped: a key's name must not be able to
    rewrite the screen of whoever lists it.
    """
    if value is None or value in ("", (), []):
        return "-"
    if isinstance(value, Mapping):
        return visible(json.dumps(dict(value), default=dict, ensure_ascii=False)) if value else "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(cell(item) for item in value)
    return visible(str(value))


def _row(record: KeyRecord, now: Instant) -> tuple[str, ...]:
    scopes = sorted(record.scopes)
    more = len(scopes) - _SCOPES_IN_A_CELL
    shown: list[JSONValue] = [*scopes[:_SCOPES_IN_A_CELL], *([f"+{more}"] if more > 0 else [])]
    return (
        cell(record.key_id),
        cell(record.owner),
        cell(record.environment),
        status_of(record, now).value,
        cell(record.name),
        cell(shown),
        cell(rfc3339(record.expires_at)),
        cell(rfc3339(record.last_used_at)),
    )


def visible(text: str) -> str:
    """Return a text with everything in it escaped that is not to be seen, or would be obeyed by a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
