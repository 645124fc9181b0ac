"""Records made up for tests: what a test does not say, it does not depend on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from asgi_apikey.models import KeyRecord, Verdict
from asgi_apikey.protocols import VerdictCache
from tests.fakes import NOON


def a_record(key_id: str = "k1", /, **facts: Any) -> KeyRecord:
    """An active record, made at `NOON`, but for the given facts."""
    return replace(KeyRecord(key_id=key_id, digest=f"digest of {key_id}", owner="acme", created_at=NOON), **facts)


def recalled(cache: VerdictCache, fingerprint: bytes) -> Verdict | None:
    """What the cache remembers, or None."""
    try:
        return cache.recall(fingerprint)
    except KeyError:
        return None
