"""From the documents of the management API to the values that the rest of the command works with, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias

from asgi_apikey.cli.output import rfc3339
from asgi_apikey.models import (
    AuditEntry,
    BulkReceipt,
    Change,
    Criteria,
    HourlyUsage,
    Instant,
    JSONValue,
    KeyRecord,
    Principal,
    Receipt,
    frozen_metadata,
)

Document: TypeAlias = Mapping[str, Any]
"""A JSON object, as it was sent. What is missing, or of another kind, is a KeyError, TypeError or ValueError."""

_INSTANTS: Final = frozenset(
    {"created_at", "not_before", "expires_at", "disabled_at", "revoked_at", "last_used_at"}
    | {f"{what}_{when}" for what in ("created", "expires", "last_used") for when in ("after", "before")}
)


def record_of(document: Document) -> KeyRecord:
    """Return a record; its digest is not sent, so it is empty."""
    sent = {each.name: document[each.name] for each in fields(KeyRecord) if each.name in document}
    needed = {each.name for each in fields(KeyRecord) if each.default is MISSING and each.name != "digest"}
    if not needed <= set(sent):
        raise KeyError("record")
    return KeyRecord(digest="", **{name: _value_of(name, value) for name, value in sent.items()})


def principal_of(document: Document) -> Principal:
    """Return whom an active key speaks for."""
    return Principal(
        key_id=document["key_id"],
        owner=document["owner"],
        tenant=document.get("tenant", ""),
        environment=document["environment"],
        name=document.get("name", ""),
        scopes=frozenset(document.get("scopes", ())),
        metadata=frozen_metadata(document.get("metadata", {})),
        expires_at=instant_of(document.get("expires_at")),
    )


def receipt_of(document: Document, record: KeyRecord) -> Receipt:
    """Return the receipt of a change, after which the record is this."""
    return Receipt(record=record, **_effect(document))


def bulk_receipt_of(document: Document) -> BulkReceipt:
    """Return the receipt of a change of many keys."""
    return BulkReceipt(
        matched=document["matched"],
        key_ids=tuple(document["key_ids"]),
        dry_run=document["dry_run"],
        **_effect(document["receipt"]),
    )


def hour_of(document: Document) -> HourlyUsage:
    """Return one hour of usage."""
    hour = instant_of(document["hour"])
    assert hour is not None
    return HourlyUsage(hour, document["accepted"], dict(document["refused"]))


def entry_of(document: Document) -> AuditEntry:
    """Return one entry of the audit."""
    at = instant_of(document["at"])
    assert at is not None
    values = {each.name: document[each.name] for each in fields(AuditEntry)}
    return AuditEntry(**values | {"at": at, "fields": tuple(document["fields"])})


def change_of(document: Document) -> Change:
    """Return one row of the change feed."""
    return Change(document["seq"], document["key_id"], document["version"])


def where_of(criteria: Criteria) -> dict[str, JSONValue]:
    """Return filters as the API takes them; the order is not among them."""
    return {name: _sent(name, value) for name, value in criteria.items() if name not in ("sort", "ascending")}


def instant_of(text: str | None) -> Instant | None:
    """Return the Unix seconds of an instant in RFC 3339."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _effect(document: Document) -> dict[str, Any]:
    names = ("confirmed", "workers", "acknowledged", "elapsed", "max_staleness")
    return {name: document[name] for name in names}


def _value_of(name: str, value: Any) -> Any:
    if name in _INSTANTS:
        return instant_of(value)
    if name == "metadata":
        return frozen_metadata(value)
    return frozenset(value) if isinstance(value, list) else value


def _sent(name: str, value: Any) -> JSONValue:
    if name in _INSTANTS:
        return rfc3339(value)
    if isinstance(value, Enum):
        return str(value.value)
    return list(value) if isinstance(value, tuple | set | frozenset) else value
