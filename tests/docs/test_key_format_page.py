"""The page about the key format describes the keys that are made."""

from __future__ import annotations

from typing import Final

import pytest

from asgi_apikey.keyformat import MAX_LENGTH, PREFIX_SHAPE, KeyFormat
from tests.docs.pages import DOCS, blocks, prose, rows, section

PAGE: Final = DOCS / "key-format.md"
RING: Final = ["k7Jx2Qm9Vb4Tz8Lp1Wd6"]


@pytest.mark.parametrize("ring", [[], RING], ids=["version 1", "version 2"])
def test_the_table_tells_version_length_and_parts(ring: list[str]) -> None:
    """Of keys as they are generated."""
    made = KeyFormat(checksum_keys=ring)
    tail = made.generate("live").key.rpartition("_")[2]
    told = {row[0].strip("`"): row for row in rows(section(PAGE, "Versions"))}

    [_, length, parts, checksum] = told[tail[0]]

    assert int(length) == len(tail) == sum(int(part.rpartition(" ")[2]) for part in parts.split(", "))
    assert checksum.startswith("HMAC-SHA-256" if ring else "CRC-32")


def test_the_pattern_is_the_formats() -> None:
    """The one that users paste into their scanners."""
    patterns = [block.text.strip() for block in blocks(PAGE) if block.text.startswith("ak_[")]

    assert patterns == [KeyFormat("ak").regex]


def test_the_longest_key_is_as_long_as_told() -> None:
    """Longest prefix, longest environment, longest version."""
    longest = KeyFormat("p" * 20, checksum_keys=RING).generate("e" * 16).key
    text = " ".join(prose(PAGE).split())

    assert PREFIX_SHAPE.fullmatch("p" * 20)
    assert not PREFIX_SHAPE.fullmatch("p" * 21)
    assert f"has {len(longest)} characters" in text
    assert f"nothing above {MAX_LENGTH} bytes" in text
