"""The shapes of keys that other systems made, and the ids that they have here.

A record is found by its id, so every key must lead to one. Where there is an id in the key, ours follows from that.
Where there is none, it follows from the SHA-256 of the whole key, which is all that such systems have stored; so it can
be told from their table as well as from a presented key, and stays when the digest is replaced by one of ours. A salted
digest tells nothing about its key: a system that has neither cannot be taken over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import combinations
from typing import Final, Protocol

from asgi_apikey.errors import ConfigurationError, MalformedKey
from asgi_apikey.keyformat import KEY_ID_LENGTH, ParsedKey, base62

# Every adopted record is found by these: they never change.
NAMED_LABEL: Final = b"asgi-apikey adopted id\0"
DIGEST_LABEL: Final = b"asgi-apikey adopted digest\0"


class KeyShape(Protocol):
    """How keys of a system look."""

    @property
    def specimen(self) -> bytes:
        """A key of this shape that nobody has."""
        ...

    def key_id(self, presented: bytes) -> str | None:
        """Return the id of the record that such a key would have here; None for a key of another shape."""
        ...


class KeyParser(Protocol):
    """The part of a key format that reads keys."""

    def parse(self, presented: bytes) -> ParsedKey:
        """Take a presented key apart.

        Raises:
            MalformedKey: It is not of this format.
        """
        ...


class NamedShape:
    """Keys that have their id in them.

    Args:
        system: Whose ids they are: two systems may have given the same one.
        pattern: Of a whole key, with the group `name` around its id.
        specimen: A key of this shape that nobody has.
    """

    def __init__(self, system: str, pattern: str, *, specimen: bytes) -> None:
        self._system = system
        self._pattern = re.compile(pattern.encode())
        self.specimen = specimen

    def key_id(self, presented: bytes) -> str | None:
        """See `KeyShape.key_id`."""
        match = self._pattern.fullmatch(presented)
        return None if match is None else id_of_name(self._system, match["name"].decode())

    def part(self, presented: bytes, group: str) -> bytes | None:
        """Return a part of a key, by the name of its group; None for a key of another shape."""
        match = self._pattern.fullmatch(presented)
        return None if match is None else match[group]


class WholeShape:
    """Keys without an id, of which SHA-256 of the whole key is stored.

    Args:
        pattern: Of a whole key.
        specimen: A key of this shape that nobody has.

    Raises:
        ConfigurationError: The pattern is not one, or not of the specimen.
    """

    def __init__(self, pattern: str, *, specimen: bytes) -> None:
        self._pattern = _compiled(pattern, specimen)
        self.specimen = specimen

    def key_id(self, presented: bytes) -> str | None:
        """See `KeyShape.key_id`."""
        if self._pattern.fullmatch(presented) is None:
            return None
        return id_of_digest(hashlib.sha256(presented).digest())


class AdoptedKeys:
    """Reads keys of our own formats, and besides them those of other systems.

    Args:
        parser: Reads ours; they go first.
        shapes: Of the others.
        environment: That all of these belong to; a record of another one is refused when it is read.

    Raises:
        ConfigurationError: A key could be one of two of these systems.
    """

    def __init__(self, parser: KeyParser, shapes: Sequence[KeyShape], *, environment: str) -> None:
        self._parser = parser
        self._shapes = tuple(shapes)
        self._environment = environment
        for one, other in combinations(self._shapes, 2):
            if _alike(one, other) or _alike(other, one):
                raise ConfigurationError(
                    f"keys that look like {one.specimen.decode()!r} and {other.specimen.decode()!r} cannot be told "
                    "apart: give one of the two systems a narrower shape, such as its prefix"
                )

    def parse(self, presented: bytes) -> ParsedKey:
        """Take a presented key apart.

        Raises:
            MalformedKey: It is neither one of ours nor of any of the systems.
        """
        if not self._shapes:
            return self._parser.parse(presented)
        try:
            return self._parser.parse(presented)
        except MalformedKey:
            for shape in self._shapes:
                key_id = shape.key_id(presented)
                if key_id is not None:
                    return ParsedKey(key_id, self._environment, "")
            raise


def id_of_name(system: str, name: str) -> str:
    """Return the id here of what has an id there: 71 bits of a hash, so that nobody meets another one by chance."""
    return _id(hashlib.sha256(NAMED_LABEL + system.encode() + b"\0" + name.encode()).digest())


def id_of_digest(sha256: bytes) -> str:
    """Return the id of a key without one, from its SHA-256: the same in whichever system it is."""
    return _id(hashlib.sha256(DIGEST_LABEL + sha256).digest())


def _compiled(pattern: str, specimen: bytes) -> re.Pattern[bytes]:
    try:
        compiled = re.compile(pattern.encode())
    except re.error as error:
        raise ConfigurationError(f"{pattern!r} is not a regular expression: {error}") from error
    if not compiled.fullmatch(specimen):
        raise ConfigurationError(f"the specimen is not of the shape {pattern!r}: write a key that nobody has")
    return compiled


def _alike(one: KeyShape, other: KeyShape) -> bool:
    """Whether a key of one shape is read by the other as another one."""
    read = other.key_id(one.specimen)
    return read is not None and read != one.key_id(one.specimen)


def _id(digest: bytes) -> str:
    return base62(int.from_bytes(digest, "big") % 62**KEY_ID_LENGTH, KEY_ID_LENGTH).decode()
