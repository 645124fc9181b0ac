"""Slow digests of a part of a key: Argon2id and bcrypt, behind the id that the rest of the key names.

`<id>$argon2id$v=19$m=65536,t=3,p=4$<salt>$<digest>`, `<id>$2b$12$<salt and digest>`
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias

from asgi_apikey.adopted.digests import WORKERS, SlowDigests
from asgi_apikey.adopted.shapes import NamedShape
from asgi_apikey.hashers.argon2 import DEFAULT_MEMORY_BUDGET, KIB, StoredDigest, matches, possible

NAME: Final = "[0-9A-Za-z_]{1,32}"
NOBODY: Final = "0"
"""An id in decoys; keys may have it, and do not match."""

_NAMED: Final = re.compile(rf"({NAME})(\$.*)")
_BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}")
_MAX_MEMORY: Final = DEFAULT_MEMORY_BUDGET // WORKERS // KIB
_MAX_PASSES: Final = 16
_MAX_COST: Final = 15
"""About 3 seconds, as for our own."""

Hashed: TypeAlias = Callable[[bytes], bytes]
"""From the secret in a key to what was hashed of it."""


def argon2_digests(scheme: str, shape: NamedShape, hashed: Hashed) -> SlowDigests:
    """Return Argon2id digests of the group `secret` of a key.

    Args:
        scheme: What stands in front, with the `$` that ends it.
        shape: Of the keys.
        hashed: What the system makes of the secret first.
    """

    def bearable(rest: str) -> bool:
        found = _NAMED.fullmatch(rest)
        return found is not None and bearable_argon2(found[2])

    decoy = f"{NOBODY}$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}"
    return SlowDigests(scheme, bearable=bearable, compare=_comparison(shape, hashed, matches), decoy=decoy)


def bearable_argon2(phc: str) -> bool:
    """Whether it is Argon2id, and within the memory and the time that a thread may take."""
    stored = StoredDigest.read(phc)
    if stored is None or stored.pepper_id is not None:
        return False
    profile = stored.profile
    return possible(profile) and profile.memory <= _MAX_MEMORY and profile.passes <= _MAX_PASSES


def bcrypt_digests(scheme: str, shape: NamedShape, hashed: Hashed) -> SlowDigests:
    """Return bcrypt digests of the group `secret` of a key.

    Args:
        scheme: What stands in front, with the `$` that ends it.
        shape: Of the keys.
        hashed: What the system makes of the secret first: 72 bytes at most, of which all count.

    Raises:
        MissingExtra: The extra `bcrypt` is not installed.
    """
    # Here, for those whose keys were never hashed so need not have it.
    from asgi_apikey.hashers.bcrypt import matches as matches_bcrypt

    def bearable(rest: str) -> bool:
        found = _NAMED.fullmatch(rest)
        stored = None if found is None else _BCRYPT.fullmatch(found[2])
        return stored is not None and 4 <= int(stored[1]) <= _MAX_COST

    def matches_made(secret: bytes, made: str) -> bool:
        return matches_bcrypt(secret, made.encode())

    decoy = f"{NOBODY}$2b$12${'.' * 53}"
    return SlowDigests(scheme, bearable=bearable, compare=_comparison(shape, hashed, matches_made), decoy=decoy)


def _comparison(
    shape: NamedShape, hashed: Hashed, matching: Callable[[bytes, str], bool]
) -> Callable[[bytes, str], bool]:
    def compare(presented: bytes, rest: str) -> bool:
        name, secret = shape.part(presented, "name"), shape.part(presented, "secret")
        if name is None or secret is None:
            return False
        stored_name, _, made = rest.partition("$")
        # The hash first, whatever the name is: a decoy has to take as long.
        return matching(hashed(secret), f"${made}") and stored_name.encode() == name

    return compare
