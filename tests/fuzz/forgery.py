"""Requests made from real keys: some as good as before, the others spoiled in ways that have names.

Every spoiled credential differs from every good key in what its place is defined to read, so that letting one in is
a bug whatever the reason. Half of those that still look like keys get a right checksum, the keyed one too, so they
reach the store and the hasher.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from asgi_apikey.keyformat import ALPHABET, CHECKSUM_LENGTH, ChecksumRing, crc32_checksum
from tests.fuzz.world import CHECKSUM_KEY, HEADER, PARAMETER, Request

Fields: TypeAlias = tuple[list[tuple[bytes, bytes]], bytes]
"""Header lines and a query string."""

Misuse: TypeAlias = Callable[[random.Random, bytes, bytes], Fields]
"""From a good key, and what comes with it (the same, another good one, nothing, garbage), to what is refused."""

Spoil: TypeAlias = Callable[[random.Random, bytes, bytes], bytes]
"""From a key, and another one, to something that is perhaps none."""

BLANKS: Final = b" \t"
_NOISE: Final = (
    b"\0",
    b"\n",
    b"\r\n",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"%00",
    b",",
    b"=",
    b"\xe2\x80\x8b",
)
_KEYED: Final = ChecksumRing([CHECKSUM_KEY])
_AUTHORIZATION: Final = b"authorization"
_COOKIE: Final = b"cookie"
_METHODS: Final = ("GET", "POST", "HEAD", "OPTIONS", "options", "BREW")
_PLACES: Final = ("header", "bearer", "query", "cookie")


# ---- spoiling a key ------------------------------------------------------------------------------------------------


def substitute(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """One to four characters become other characters of keys."""
    letters = bytearray(key)
    for at in rng.sample(range(len(key)), rng.randint(1, 4)):
        letters[at] = rng.choice(ALPHABET)
    return bytes(letters)


def overwrite(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """One byte becomes any byte."""
    at = rng.randrange(len(key))
    return key[:at] + bytes([rng.randrange(256)]) + key[at + 1 :]


def flip_bit(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """One bit turns."""
    at = rng.randrange(len(key))
    return key[:at] + bytes([key[at] ^ (1 << rng.randrange(8))]) + key[at + 1 :]


def insert(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Something comes in between."""
    at = rng.randrange(len(key) + 1)
    return key[:at] + rng.choice([bytes([rng.choice(ALPHABET)]), *_NOISE]) + key[at:]


def delete(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """One to three characters are missing."""
    at = rng.randrange(len(key))
    return key[:at] + key[at + rng.randint(1, 3) :]


def swap(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Two characters change places."""
    one, two = sorted(rng.sample(range(len(key)), 2))
    return key[:one] + key[two : two + 1] + key[one + 1 : two] + key[one : one + 1] + key[two + 1 :]


def change_case(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Letters change case: all, one, or those of a slice."""
    one, two = sorted(rng.choices(range(len(key) + 1), k=2))
    return rng.choice([key.upper(), key.lower(), key.swapcase(), key[:one] + key[one:two].swapcase() + key[two:]])


def truncate(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """An end is missing."""
    at = rng.randrange(1, len(key))
    return rng.choice([key[:at], key[at:]])


def lengthen(rng: random.Random, key: bytes, other: bytes) -> bytes:
    """Something is added, from one byte to much more than any limit."""
    padding = rng.choice([b"0", b"_", b"A" * 170, b"A" * 5_000, key, other])
    return rng.choice([key + padding, padding + key])


def splice(rng: random.Random, key: bytes, other: bytes) -> bytes:
    """The head of one key on the tail of another, cut anywhere or just between id and secret."""
    at = rng.choice([rng.randrange(1, len(key)), key.rindex(b"_"), key.rindex(b"_") - 6])
    return key[:at] + other[at:]


def rename(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Another prefix or environment."""
    prefix, environment, rest = key.split(b"_", 2)
    named = [(b"AK", environment), (b"sk", environment), (b"ak_ak", environment), (b"", environment)]
    named += [(prefix, each) for each in (b"test", b"LIVE", b"", b"live1", b"l\xc4\xb1ve", b"live_test")]
    return b"_".join((*rng.choice(named), rest))


def retag(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Another version, with the length it has or the one it should have."""
    head, tail = key.rsplit(b"_", 1)
    tag = rng.choice([b"0", b"1", b"2", b"3", b"A", b"z"])
    return head + b"_" + rng.choice([tag + tail[1:], tag + b"00" + tail[1:], tag + tail[3:]])


def reorder(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """The parts in another order, or turned round."""
    parts = key.split(b"_")
    rng.shuffle(parts)
    return rng.choice([b"_".join(parts), key[::-1], key.replace(b"_", rng.choice([b"-", b".", b"__", b" "]))])


def escape(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Written in another alphabet: escapes, UTF-16, hex, quotes."""
    at = rng.randrange(len(key))
    return rng.choice(
        [
            key[:at] + b"%%%02x" % key[at] + key[at + 1 :],
            key.decode().encode("utf-16"),
            key.hex().encode(),
            b'"' + key + b'"',
            b"Bearer " + key,
            b"ApiKey " + key,
        ]
    )


def noise(rng: random.Random, key: bytes, _: bytes) -> bytes:
    """Not a key at all, as long as one."""
    return rng.randbytes(len(key))


SPOILERS: Final[Sequence[Spoil]] = (
    substitute,
    overwrite,
    flip_bit,
    insert,
    delete,
    swap,
    change_case,
    truncate,
    lengthen,
    splice,
    rename,
    retag,
    reorder,
    escape,
    noise,
)


def spoiled(rng: random.Random, spoil: Spoil, good: Sequence[bytes]) -> bytes:
    """Return something made from good keys by `spoil` that reads as none of them."""
    while True:
        key, other = rng.sample(good, 2)
        candidate = spoil(rng, key, other)
        if rng.random() < 0.5:
            candidate = with_right_checksum(candidate)
        if candidate.strip(BLANKS) not in good:
            return candidate


def with_right_checksum(candidate: bytes) -> bytes:
    """Return it with the last characters that its version demands; as it is if it is too short to have any."""
    body = candidate[:-CHECKSUM_LENGTH]
    tag = body.rpartition(b"_")[2][:1]
    checksum = _KEYED.checksum(body) if tag == b"2" else crc32_checksum(body)
    return candidate if not body or checksum is None else body + checksum


# ---- carrying a credential -----------------------------------------------------------------------------------------


def carried(rng: random.Random, what: str, presented: bytes, place: str) -> Request:
    """Return a request that presents exactly these bytes, in one of the spellings that its place allows."""
    guard = rng.choice([place, "everywhere"])
    lines: list[tuple[bytes, bytes]] = []
    query = rng.choice([b"", b"page=2&q=a%20b", b"api_keys=1&xapi_key=2"])
    if place == "header":
        lines = [(any_case(rng, HEADER), blanks(rng) + presented + blanks(rng))]
    elif place == "bearer":
        lines = [(any_case(rng, _AUTHORIZATION), blanks(rng) + any_case(rng, b"bearer") + b" " + presented)]
    elif place == "query":
        field = escaped(rng, PARAMETER) + b"=" + escaped(rng, presented)
        query = b"&".join(each for each in (query, field) if each)
    else:
        lines = [(_COOKIE, rng.choice([b"", b"theme=dark; "]) + PARAMETER + b"=" + presented)]
    lines += [(b"host", b"localhost"), (b"accept", b"*/*")]
    rng.shuffle(lines)
    return surrounded(rng, Request(what=what, guard=guard, headers=tuple(lines), query=query))


def surrounded(rng: random.Random, request: Request) -> Request:
    """Vary what has nothing to do with the credential."""
    return replace(
        request,
        kind=rng.choice(["http", "http", "http", "websocket"]),
        denial=rng.random() < 0.5,
        method=rng.choice(_METHODS),
        path=rng.choice(["/", "/orders/7", "//health", "/health/..", "/static/../", "/\ufffd"]),
        raw_path=rng.choice([None, b"/"]),
        client=rng.choice([None, ("192.0.2.1", 50_000), (f"198.51.100.{rng.randrange(256)}", 50_000)]),
        state=rng.choice([..., None, {}, {"api_key": "somebody", "pool": 1}]),
    )


def any_case(rng: random.Random, name: bytes) -> bytes:
    """Return a name in any upper and lower case."""
    return bytes(rng.choice((letter, *bytes([letter]).swapcase())) for letter in name)


def blanks(rng: random.Random) -> bytes:
    """Return what servers should have removed around a value."""
    return rng.choice([b"", b"", b" ", b" \t "])


def escaped(rng: random.Random, text: bytes) -> bytes:
    """Return the text as it can stand in a query string, with more escapes than it needs."""
    return b"".join(
        b"%%%02X" % byte if not (bytes([byte]).isalnum() or byte == 0x5F) or rng.random() < 0.1 else bytes([byte])
        for byte in text
    )


# ---- using a good key wrongly --------------------------------------------------------------------------------------


def duplicated(rng: random.Random, key: bytes, twice: bytes) -> Fields:
    """The same field twice: equal, different, empty, in other case."""
    bearer = any_case(rng, b"Bearer ")
    return rng.choice(
        [
            ([(HEADER, key), (any_case(rng, HEADER), twice)], b""),
            ([(any_case(rng, HEADER), twice), (b"a", b"b"), (HEADER, key)], b""),
            ([(_AUTHORIZATION, bearer + key), (b"Authorization", bearer + twice)], b""),
            ([(_AUTHORIZATION, b"Basic YTpi"), (_AUTHORIZATION, bearer + key)], b""),
            ([], b"api_key=" + key + b"&api_key=" + twice),
            ([], b"api_key=" + twice + b"&%61pi_key=" + key),
            ([(_COOKIE, b"api_key=" + key + b"; api_key=" + twice)], b""),
            ([(_COOKIE, b"api_key=" + key), (_COOKIE, b"api_key=" + twice)], b""),
        ]
    )


def two_places(rng: random.Random, key: bytes, twice: bytes) -> Fields:
    """A key in one place, and something in another."""
    header, bearer = (HEADER, key), (_AUTHORIZATION, any_case(rng, b"Bearer ") + twice)
    return rng.choice(
        [
            ([header, bearer], b""),
            ([header], b"api_key=" + twice),
            ([bearer], b"api_key=" + key),
            ([header, (_COOKIE, b"api_key=" + twice)], b""),
            ([(_COOKIE, b"api_key=" + key)], b"api_key=" + twice),
        ]
    )


def joined(rng: random.Random, key: bytes, twice: bytes) -> Fields:
    """Two values in one field, as a proxy might fold them."""
    both = key + rng.choice([b",", b", ", b" ", b"\t", b"\n", b"\0", b"|"]) + (twice or b"x")
    return rng.choice(
        [
            ([(HEADER, both)], b""),
            ([(_AUTHORIZATION, b"Bearer " + both)], b""),
            ([], b"api_key=" + escaped(rng, both)),
            ([(_COOKIE, b"api_key=" + both)], b""),
        ]
    )


def misnamed(rng: random.Random, key: bytes, _: bytes) -> Fields:
    """A good key under a name that is almost right."""
    headers = [b"x_api_key", b"x-api-key ", b" x-api-key", b"x-api-key\0", b"xapikey", b"x-api-keys", b"api-key"]
    parameters = [b"API_KEY", b"api_key[]", b"api_key%00", b"api-key", b"=api_key", b"api_key%5B%5D", b"api%255Fkey"]
    cookies = [b"API_KEY", b"api_key%3d", b"api_key,x", b'"api_key"', b"__Host-api_key"]
    return rng.choice(
        [
            ([(rng.choice(headers), key)], b""),
            ([], rng.choice(parameters) + b"=" + key),
            ([(_COOKIE, rng.choice(cookies) + b"=" + key)], b""),
            ([(b"x-forwarded-for", key), (b"proxy-authorization", b"Bearer " + key), (b"referer", key)], key),
        ]
    )


def misspelled(rng: random.Random, key: bytes, _: bytes) -> Fields:
    """A good key in the right place, not written as that place demands."""
    gap = rng.choice([b"  ", b"\t", b"", b" \t", b":", b"=", b"\xa0", b" Bearer ", b", "])
    scheme = rng.choice([b"Basic", b"Token", b"ApiKey", b"Bear", b"\xc2\xa0Bearer"])
    tail = rng.choice([b"%", b"%0", b"%zz", b"%00", b"+", b"%20", b"%u0041", b"=", b";a=b"])
    return rng.choice(
        [
            ([(HEADER, rng.choice([b'"' + key + b'"', b"Bearer " + key, b"key=" + key]))], b""),
            ([(_AUTHORIZATION, any_case(rng, b"bearer") + gap + key)], b""),
            ([(_AUTHORIZATION, scheme + b" " + key)], b""),
            ([], b"api_key=" + key + tail),
            ([], b"api_key=" + key.replace(b"_", b"%255f")),
            ([(_COOKIE, b"api_key=" + rng.choice([b'"' + key + b'"', key + b",a=b", b"=" + key]))], b""),
        ]
    )


def drowned(rng: random.Random, key: bytes, _: bytes) -> Fields:
    """A good key behind more fields than anybody sends."""
    return rng.choice([([], b"&" * 1_000 + b"api_key=" + key), ([(_COOKIE, b"a=b;" * 1_000 + b"api_key=" + key)], b"")])


MISUSES: Final[Sequence[Misuse]] = (duplicated, two_places, joined, misnamed, misspelled, drowned)


# ---- whole requests ------------------------------------------------------------------------------------------------


def control(rng: random.Random, good: Sequence[bytes]) -> tuple[Request, bytes]:
    """Return a request that has to be let in, and the key it presents."""
    key = rng.choice(good)
    return carried(rng, "control", key, rng.choice(_PLACES)), key


def spoiled_key(rng: random.Random, good: Sequence[bytes]) -> Request:
    """Return a request with a spoiled key, presented in good order."""
    spoil = rng.choice(SPOILERS)
    presented = spoiled(rng, spoil, good)
    # A semicolon would end the cookie, and what stands before it might be a good key.
    place = rng.choice([each for each in _PLACES if each != "cookie" or b";" not in presented])
    return carried(rng, spoil.__name__, presented, place)


def ended_key(rng: random.Random, ended: Sequence[bytes]) -> Request:
    """Return a request with a key that is good no more, not yet, or elsewhere, presented in good order."""
    return carried(rng, "ended", rng.choice(ended), rng.choice(_PLACES))


def misused_key(rng: random.Random, good: Sequence[bytes]) -> Request:
    """Return a request with good keys that is not in good order."""
    misuse, key = rng.choice(MISUSES), rng.choice(good)
    lines, query = misuse(rng, key, rng.choice([key, rng.choice(good), b"", b"garbage"]))
    # Who reads one place only is right to let in what is in good order there.
    guard = "everywhere" if misuse is two_places else rng.choice(["everywhere", *_PLACES])
    return surrounded(rng, Request(what=misuse.__name__, guard=guard, headers=tuple(lines), query=query))
