"""Scopes and tags as searches find them: a row for each, beside the record's own columns."""

from __future__ import annotations

from asgi_apikey.models import KeyRecord


def labels_of(record: KeyRecord) -> list[tuple[str, str, str]]:
    """Return a record's rows of kind, label and key id, sorted."""
    labels = [("scope", each, record.key_id) for each in sorted(record.scopes)]
    return labels + [("tag", each, record.key_id) for each in sorted(record.tags)]
