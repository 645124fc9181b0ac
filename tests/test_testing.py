"""What the package offers for other people's tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import asgi_apikey
from asgi_apikey import APIKeys, InvalidKey
from asgi_apikey.protocols import Hasher
from asgi_apikey.testing import MockHasher


@pytest.mark.anyio
async def test_the_mock_hasher_lets_the_right_key_in_and_no_other() -> None:
    """It is a hasher like any other, only not safe; and it counts."""
    hasher = MockHasher()
    mock: Hasher = hasher
    async with APIKeys("memory:", hasher=mock) as keys:
        first, second = await keys.issue(owner="acme"), await keys.issue(owner="acme")
        mixed = second.key.replace(second.record.key_id, first.record.key_id)
        principal = await keys.authenticate(first.key.encode())
        with pytest.raises(InvalidKey):
            await keys.authenticate(mixed.encode())

    assert principal.key_id == first.record.key_id
    assert (hasher.hashed, hasher.verified) == (2, 1)


def test_nothing_in_the_package_imports_it() -> None:
    """What is unsafe is there for tests only."""
    sources = Path(asgi_apikey.__file__).parent.rglob("*.py")
    imported = {
        node.module
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }

    assert "asgi_apikey.errors" in imported
    assert "asgi_apikey.testing" not in imported
