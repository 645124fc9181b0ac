"""The shape of a key: generate one, read one, find and mask keys in any text.

    ak_live_9fK2mQ7xT0aB_1Zt…
    │  │    │            │└── 32 random base62 characters (190.5 bits), then the checksum
    │  │    │            └─── version: which checksum, hence how long the rest is
    │  │    └──────────────── key id: 12 random base62 characters, public
    │  └───────────────────── environment
    └──────────────────────── prefix; the only part that may hold underscores, so keys are read from the right

| version | right of the last underscore | checksum: 6 base62 characters over everything before it |
|---|---|---|
| 1 | tag 1, secret 32, checksum 6 = 39 | CRC-32 (ISO 3309, as zlib computes it) |
| 2 | tag 1, ring id 2, secret 32, checksum 6 = 41 | HMAC-SHA-256 under the key that the ring id names, modulo 62^6 |

A checksum is a filter and nothing else: it keeps typing errors and noise away from the store. Anybody can compute
version 1's, and nobody is let in for having a right one. Released versions stay readable for ever.
"""

from __future__ import annotations

import hmac
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from asgi_apikey.errors import ConfigurationError, InvalidRequest, MalformedKey

MAX_LENGTH: Final = 256
"""Bytes. Nothing longer is looked at; the longest key that can be issued has 92."""

ALPHABET: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KEY_ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 32
CHECKSUM_LENGTH: Final = 6
RING_ID_LENGTH: Final = 2
HINT_LENGTH: Final = 4
MIN_CHECKSUM_KEY: Final = 16

_MAX_UNKNOWN_RINGS: Final = 8

# Written into every issued key of version 2: these never change.
RING_ID_LABEL: Final = b"asgi-apikey ring id 2\0"
CHECKSUM_LABEL: Final = b"asgi-apikey checksum 2\0"

PREFIX_SHAPE: Final = re.compile(r"[a-z][a-z0-9_]{0,18}[a-z0-9]")
ENVIRONMENT_SHAPE: Final = r"[a-z][a-z0-9]{0,15}"
_ENVIRONMENT: Final = re.compile(ENVIRONMENT_SHAPE.encode())
WHOLE_KEY: Final = re.compile(rf"(_[0-9A-Za-z]{{{KEY_ID_LENGTH}}}_)[12][0-9A-Za-z]{{{SECRET_LENGTH},}}")
"""The part of a key of any prefix that betrays it: after its id, which is group 1, a whole secret."""
_KEY_ID: Final = re.compile(rf"[0-9A-Za-z]{{{KEY_ID_LENGTH}}}")

Checksum: TypeAlias = Callable[[bytes], bytes | None]
"""From everything before a key's checksum to the right checksum; None when it cannot be told here."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made.

    Attributes:
        key: The whole key; not in the repr.
        key_id: The public part that finds its record.
        hint: Its last four characters.
    """

    key: str = field(repr=False)
    key_id: str
    hint: str


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a presented key says about itself; none of it is verified.

    Attributes:
        version: `1` or `2`, see the table in the module's docstring.
    """

    key_id: str
    environment: str
    version: str


@dataclass(frozen=True, slots=True)
class FoundKey:
    """Where a key stands in a text: `text[start:end]` is the whole key, which is not repeated here.

    Attributes:
        checked: Whether its checksum was compared; False for a key under an unknown checksum key.
    """

    start: int
    end: int
    key_id: str
    environment: str
    version: str
    hint: str
    checked: bool


@dataclass(frozen=True, slots=True)
class Version:
    """A released shape of what stands right of a key's last underscore.

    Attributes:
        tag: Its first character.
        tail: How many characters there are, tag included.
        checksum: How the last six of them follow from everything before.
    """

    tag: str
    tail: int
    checksum: Checksum


class KeyFormat:
    """Keys of one prefix, in every released version.

    Without checksum keys, new keys are of version 1; with them, of version 2 under the newest. Keys of both versions
    can be read either way. A key under a checksum key that is not in the ring is read without comparing its checksum,
    and told: losing that key must not lock out its customers. For the same reason the filter stops only those
    who do not know the format; a stranger who does can name a ring id that nobody has, or make a version 1 key.

    Args:
        prefix: 2 to 20 of `a-z`, `0-9` and `_`; starts with a letter, does not end with an underscore.
        checksum_keys: The ring, newest last, each at least 16 bytes (text counts as UTF-8). Not a pepper: issued
            keys carry its mark for life, so old ones stay in the ring.
        randbelow: Returns a uniform integer in `[0, n)`, unpredictably.
        on_unknown_ring: Told the ring id of a presented key that is not in the ring, once each and 8 times at most: a
            stranger can name all 3,844, and a log must not grow with what strangers send.

    Raises:
        ConfigurationError: The prefix has another shape, or a checksum key is short, given twice, or has the ring id
            of another one.
    """

    def __init__(
        self,
        prefix: str = "ak",
        *,
        checksum_keys: Sequence[bytes | str] = (),
        randbelow: Callable[[int], int] = secrets.randbelow,
        on_unknown_ring: Callable[[str], object] | None = None,
    ) -> None:
        if not PREFIX_SHAPE.fullmatch(prefix):
            raise ConfigurationError(
                f"prefix {prefix!r}: use 2 to 20 of a-z, 0-9 and _, "
                "starting with a letter and not ending with an underscore, such as 'acme'"
            )
        ring = ChecksumRing(checksum_keys)
        v1 = Version("1", 1 + SECRET_LENGTH + CHECKSUM_LENGTH, crc32_checksum)
        v2 = Version("2", 1 + RING_ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH, ring.checksum)
        self._prefix = prefix
        self._prefix_bytes = prefix.encode()
        self._versions: Mapping[bytes, Version] = MappingProxyType({each.tag.encode(): each for each in (v1, v2)})
        self._issued = v2 if ring.newest else v1
        self._opening = self._issued.tag + ring.newest
        self._randbelow = randbelow
        self._on_unknown_ring = on_unknown_ring
        self._unknown_rings: set[bytes] = set()
        self._regex = key_pattern(prefix, (v1, v2))
        # The right neighbour must end the run of base62; on the left the checksum decides, because a letter there may
        # well belong to something else: `%3D`, `\n` in JSON, the end of a terminal's colour code.
        self._scanner = re.compile(f"{self._regex}(?![0-9A-Za-z])")

    @property
    def prefix(self) -> str:
        """What every key of this format starts with."""
        return self._prefix

    @property
    def regex(self) -> str:
        """The exact shape of a key, as a pattern for secret scanners.

        It uses no lookarounds, backreferences or flags, so RE2, Hyperscan, PCRE and Python read it alike. It is not
        anchored: let the scanner require that no letter or digit follows.
        """
        return self._regex

    def generate(self, environment: str, *, key_id: str | None = None) -> NewKey:
        """Make a new key.

        Args:
            environment: 1 to 16 of `a-z` and `0-9`, starting with a letter.
            key_id: 12 letters and digits; None: a random one.

        Raises:
            InvalidRequest: The environment, or the key id, has another shape.
        """
        if not re.fullmatch(ENVIRONMENT_SHAPE, environment):
            raise InvalidRequest("an environment is 1 to 16 of a-z and 0-9 and starts with a letter, such as 'live'")
        if key_id is None:
            key_id = base62(self._randbelow(62**KEY_ID_LENGTH), KEY_ID_LENGTH).decode()
        elif not _KEY_ID.fullmatch(key_id):
            raise InvalidRequest(f"a key id is {KEY_ID_LENGTH} letters and digits")
        secret = base62(self._randbelow(62**SECRET_LENGTH), SECRET_LENGTH).decode()
        body = f"{self._prefix}_{environment}_{key_id}_{self._opening}{secret}"
        checksum = self._issued.checksum(body.encode())
        assert checksum is not None, "the newest checksum key is in its own ring"
        key = body + checksum.decode()
        return NewKey(key, key_id, key[-HINT_LENGTH:])

    def parse(self, presented: bytes) -> ParsedKey:
        """Read a presented key, without believing it.

        This is what a flood meets first: length, then plain splits and compares, then the checksum; no search that
        can go back over its input.

        Raises:
            MalformedKey: Not a key of this format, or its checksum is wrong.
        """
        if len(presented) > MAX_LENGTH:
            raise MalformedKey
        parts = presented.rsplit(b"_", 3)
        if len(parts) != 4 or parts[0] != self._prefix_bytes:
            raise MalformedKey
        _, environment, key_id, tail = parts
        version = self._versions.get(tail[:1])
        if (
            version is None
            or len(tail) != version.tail
            or not tail.isalnum()  # on bytes, ASCII only
            or len(key_id) != KEY_ID_LENGTH
            or not key_id.isalnum()
            or not _ENVIRONMENT.fullmatch(environment)
        ):
            raise MalformedKey
        expected = version.checksum(presented[:-CHECKSUM_LENGTH])
        if expected is None:
            self._note_unknown_ring(tail[1 : 1 + RING_ID_LENGTH])
        elif not hmac.compare_digest(expected, presented[-CHECKSUM_LENGTH:]):
            raise MalformedKey(key_id.decode())
        return ParsedKey(key_id.decode(), environment.decode(), version.tag)

    def find(self, text: str) -> Iterator[FoundKey]:
        """Yield the keys in any text, left to right: those whose checksum is right or cannot be compared.

        A key may touch anything but a letter or digit on its right: quotes, slashes, percent-escapes, underscores.
        """
        position = 0
        while match := self._scanner.search(text, position):
            # Not `match.end()`: what looks like a key may end in the first letters of one.
            position = match.start() + 1
            key = match[0].encode()
            _, environment, key_id, tail = match[0].rsplit("_", 3)
            expected = self._versions[tail[:1].encode()].checksum(key[:-CHECKSUM_LENGTH])
            if expected is None or hmac.compare_digest(expected, key[-CHECKSUM_LENGTH:]):
                yield FoundKey(
                    start=match.start(),
                    end=match.end(),
                    key_id=key_id,
                    environment=environment,
                    version=tail[0],
                    hint=tail[-HINT_LENGTH:],
                    checked=expected is not None,
                )

    def mask(self, text: str) -> str:
        """Return the text with every key that `find` yields cut down to `ak_live_9fK2mQ7xT0aB_…wxyz`."""
        pieces = []
        copied = 0
        for found in self.find(text):
            pieces.append(text[copied : found.start])
            pieces.append(f"{self._prefix}_{found.environment}_{found.key_id}_…{found.hint}")
            copied = found.end
        pieces.append(text[copied:])
        return "".join(pieces)

    def _note_unknown_ring(self, ring_id: bytes) -> None:
        if ring_id in self._unknown_rings or len(self._unknown_rings) >= _MAX_UNKNOWN_RINGS:
            return
        self._unknown_rings.add(ring_id)
        if self._on_unknown_ring is not None:
            self._on_unknown_ring(ring_id.decode())


class ChecksumRing:
    """Checksum keys by ring id. The id is derived from the key, so nothing beside the keys needs to be kept.

    Attributes:
        newest: Ring id of the key that new keys are issued under; empty when there is none.
    """

    def __init__(self, keys: Sequence[bytes | str]) -> None:
        if isinstance(keys, str | bytes):
            raise ConfigurationError("checksum_keys is a sequence: write checksum_keys=[key]")
        self.newest = ""
        self._keyed: dict[bytes, hmac.HMAC] = {}
        for number, each in enumerate(keys, 1):
            key = checksum_key_bytes(each, number)
            ring_id = base62_mac(hmac.digest(key, RING_ID_LABEL, "sha256"), RING_ID_LENGTH)
            if ring_id in self._keyed:
                raise ConfigurationError(
                    f"checksum key {number} is in the ring already, or happens to have another one's ring id; "
                    "leave out the repeated one, or generate another: `asgi-apikey pepper`"
                )
            self._keyed[ring_id] = hmac.new(key, CHECKSUM_LABEL, "sha256")
            self.newest = ring_id.decode()

    def checksum(self, body: bytes) -> bytes | None:
        """The right checksum of a version 2 key, from everything before it; None when its ring id is unknown."""
        keyed = self._keyed.get(body[-SECRET_LENGTH - RING_ID_LENGTH : -SECRET_LENGTH])
        if keyed is None:
            return None
        mac = keyed.copy()  # keyed once: a copy costs 0.9 µs, keying anew 1.3
        mac.update(body)
        return base62_mac(mac.digest(), CHECKSUM_LENGTH)


def crc32_checksum(body: bytes) -> bytes:
    """The right checksum of a version 1 key, from everything before it."""
    return base62(zlib.crc32(body), CHECKSUM_LENGTH)


def checksum_key_bytes(key: bytes | str, number: int) -> bytes:
    """Return a checksum key as bytes, refusing what can be guessed; `number` counts from 1, for the message."""
    if not isinstance(key, str | bytes):
        raise ConfigurationError(f"checksum key {number} is neither text nor bytes")
    as_bytes = key.encode() if isinstance(key, str) else key
    if len(as_bytes) < MIN_CHECKSUM_KEY or len(set(as_bytes)) < MIN_CHECKSUM_KEY // 2:
        raise ConfigurationError(
            f"checksum key {number} can be guessed: use at least {MIN_CHECKSUM_KEY} random bytes; "
            "`asgi-apikey pepper` prints a good one"
        )
    return as_bytes


def holds_a_key(text: str) -> bool:
    """Whether a whole key of ours stands somewhere in the text, of whatever prefix.

    What betrays a key is that the whole secret follows a key id, even if its end was lost in copying.
    """
    return WHOLE_KEY.search(text) is not None


def base62(number: int, width: int) -> bytes:
    """Write a number below `62**width` in exactly `width` base62 digits, most significant first."""
    digits = bytearray(width)
    for place in range(width - 1, -1, -1):
        number, digit = divmod(number, 62)
        digits[place] = ALPHABET[digit]
    return bytes(digits)


def base62_mac(digest: bytes, width: int) -> bytes:
    """Cut a MAC down to `width` base62 digits (at most 6; 64 bits modulo 62^6 are uniform but for 2^-28)."""
    return base62(int.from_bytes(digest[:8], "big") % 62**width, width)


def key_pattern(prefix: str, versions: Sequence[Version]) -> str:
    """The pattern of a whole key, in the dialect that all scanners share."""
    tails = "|".join(f"{each.tag}[0-9A-Za-z]{{{each.tail - 1}}}" for each in versions)
    return f"{prefix}_{ENVIRONMENT_SHAPE}_[0-9A-Za-z]{{{KEY_ID_LENGTH}}}_(?:{tails})"
