"""Fixtures of the bridges."""

from __future__ import annotations

import pytest

from asgi_apikey.models import Principal
from tests.asgi.driver import FakeKeys

WIDE = b"ak_live_wide"
"""A key that was granted a wildcard."""


@pytest.fixture
def keys() -> FakeKeys:
    """Keys of Alice, who may read orders, of Bob, who may nothing, and one with a wildcard."""
    keys = FakeKeys()
    keys.cached[WIDE] = Principal(key_id="wide-key", owner="wanda", scopes=frozenset({"orders:*"}))
    return keys
