"""Pure rules of admission: what an authenticated principal may do."""

from __future__ import annotations

from collections.abc import Iterable


def missing_scopes(granted: frozenset[str], required: Iterable[str]) -> frozenset[str]:
    """Return those of the required scopes that are not granted, compared exactly; empty means admitted."""
    return frozenset(required) - granted
