"""What workers write to each other over a bus, and the seal that keeps everybody else's writing out.

    wake   1 or 3 | seq 8 | call 16 | inbox 16 | MAC 32       in hexadecimal digits; 3: nobody need answer
    ack    2      | seq 8 | call 16 | worker   | MAC 32

Numbers are big-endian. The MAC is HMAC-SHA-256 (RFC 2104, FIPS 198-1) of everything before it, under a key made of the
secret and the bus's channel: nobody without the secret can write a letter, and one copied from another channel is not
one of this. A letter that is sent again says what was true already: a wake-up asks for one more look at the feed, and
an acknowledgement names the call that it answers, of which there is one, by its 16 random bytes.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, TypeAlias

from asgi_apikey.errors import ConfigurationError

MIN_SECRET: Final = 32
ID_LENGTH: Final = 16
MAX_LETTER: Final = 512
"""Characters; ours have at most 418. PostgreSQL's limit is 7,999."""

# What both sides must agree on: these never change for letters of this version.
_KEY_LABEL: Final = b"asgi-apikey bus 1\0"
_NAME_LABEL: Final = b"asgi-apikey bus name 1\0"
_WAKE: Final = 1
_ACK: Final = 2
_NEWS: Final = 3
_MAC_LENGTH: Final = 32
_FIXED: Final = 1 + 8 + ID_LENGTH
_LONGEST_WORKER_ID: Final = 128
_MAX_SEQ: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Wake:
    """Somebody has made a change.

    Attributes:
        seq: Its feed position.
        call: Names this wake-up.
        inbox: Whose it is.
        answer: Whether they wait to hear that it is applied.
    """

    seq: int
    call: bytes
    inbox: bytes
    answer: bool = True


@dataclass(frozen=True, slots=True)
class Ack:
    """A worker has applied every change up to `seq`; the answer to the wake-up `call`."""

    seq: int
    call: bytes
    worker_id: str


Letter: TypeAlias = Wake | Ack


class Seal:
    """Writes letters, and reads those of others who have the same secret and channel.

    Args:
        secret: Shared by all workers.
        channel: The bus's own name.

    Attributes:
        name: Says which secret and channel these are, without giving them away.

    Raises:
        ConfigurationError: No secret, or a short one.
    """

    def __init__(self, secret: str | bytes, channel: str) -> None:
        as_bytes = secret.encode() if isinstance(secret, str) else secret
        if len(as_bytes) < MIN_SECRET:
            raise ConfigurationError(
                f"a bus needs a secret of at least {MIN_SECRET} bytes that its workers share, or anybody who reaches "
                "its server could say that a revoked key is gone everywhere; `asgi-apikey pepper` prints a good one"
            )
        if not channel or not channel.isascii() or not channel.isprintable():
            raise ConfigurationError("the channel of a bus must be named, in printable ASCII characters")
        self._key = hmac.digest(as_bytes, _KEY_LABEL + channel.encode(), "sha256")
        self.name = hmac.digest(as_bytes, _NAME_LABEL + channel.encode(), "sha256").hex()[:16]

    def __repr__(self) -> str:
        return f"Seal({self.name})"

    def write(self, letter: Letter) -> str:
        """Return the sealed text of a letter."""
        if isinstance(letter, Wake):
            kind, rest = _WAKE if letter.answer else _NEWS, letter.inbox
        else:
            kind, rest = _ACK, letter.worker_id.encode()
        body = bytes((kind,)) + min(letter.seq, _MAX_SEQ).to_bytes(8) + letter.call + rest
        return (body + self._mac(body)).hex()

    def read(self, text: str) -> Letter | None:
        """Return the letter, or None if it is not one that somebody with our secret wrote for this channel."""
        if len(text) > MAX_LETTER:
            return None
        try:
            sealed = bytes.fromhex(text)
        except ValueError:
            return None
        body, mac = sealed[:-_MAC_LENGTH], sealed[-_MAC_LENGTH:]
        # In constant time: the number of equal bytes must not be told by how long we take.
        if len(body) <= _FIXED or not hmac.compare_digest(mac, self._mac(body)):
            return None
        return _letter(body)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _letter(body: bytes) -> Letter | None:
    """What a letter says whose seal is ours. One of a later version is not understood, and so is none."""
    kind, seq, call, rest = body[0], int.from_bytes(body[1:9]), body[9:_FIXED], body[_FIXED:]
    if seq > _MAX_SEQ:
        return None
    if kind in (_WAKE, _NEWS) and len(rest) == ID_LENGTH:
        return Wake(seq, call, rest, kind == _WAKE)
    if kind == _ACK and len(rest) <= _LONGEST_WORKER_ID and rest.isascii():
        return Ack(seq, call, rest.decode())
    return None
