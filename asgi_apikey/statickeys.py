"""Keys that are declared in the environment or in a file, for development and continuous integration.

    API_KEY_CI=ak_live_9fK2mQ7xT0aB_1Zt…       in the environment, or in a `.env` file
    [[key]] …                                  in a TOML file, see `declarations`

A declared key is a whole key, and whoever reads the declaration has it. It must be one that was issued in our format,
or, from elsewhere, so random that it cannot be guessed.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Protocol

from asgi_apikey import lifecycle
from asgi_apikey.dotenv import assignments
from asgi_apikey.errors import ConfigurationError, InvalidRequest, MalformedKey
from asgi_apikey.keyformat import KEY_ID_LENGTH, MAX_LENGTH, ParsedKey, base62
from asgi_apikey.models import KeyRequest

PREFIX: Final = "API_KEY_"
"""What the names of variables with keys start with."""

NEVER_KEYS: Final = frozenset(
    {"PEPPER", "PEPPERS", "CHECKSUM_KEY", "CHECKSUM_KEYS", "AUDIT_KEY", "AUDIT_KEYS", "URL", "PREFIX", "ENVIRONMENT"}
    | {"CACHE_TTL", "SINGLE_PROCESS", "SALT", "HEADER", "SECRET", "CACHE_SECRET", "HASH", "HASH_SECRET"}
)
"""Names after `API_KEY_` that other systems, or hasty fingers, give to settings and secrets of a server."""

MIN_BITS: Final = 128
"""Of a key that is not of our format: RFC 6749, section 10.10, asks for a chance of at most 2^-128 to guess one."""
MIN_LENGTH: Final = 32  # what 128 bits take in hex
MIN_DISTINCT: Final = 8  # 32 random hex digits have fewer once in 10^7 times

_ID_LABEL: Final = b"asgi-apikey static key id 1\0"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,99}")
_GRAPHIC: Final = re.compile(r"[\x21-\x7e]+")
_HEX: Final = re.compile(r"(?:[0-9a-f]+|[0-9A-F]+)")
_WORD: Final = re.compile(r"[-_.]?(?:[A-Z][a-z]{2,}|[a-z]{4,}|[A-Z]{4,})")
_VOWELS: Final = re.compile("[aeiouyAEIOUY]")
_BITS_OF_A_WORD: Final = 13.0  # one of 8,000


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticKey:
    """A declared key.

    Attributes:
        key: The whole key; not in the repr.
        request: Whose it is and what it may do.
        source: Where it is declared, for messages.
    """

    key: str = field(repr=False)
    request: KeyRequest
    source: str


class KeyParser(Protocol):
    """The part of a key format that reads keys."""

    def parse(self, presented: bytes) -> ParsedKey:
        """Take a presented key apart.

        Raises:
            MalformedKey: It is not of this format.
        """
        ...


def from_environ(environ: Mapping[str, str], *, secrets: Collection[str] = ()) -> tuple[StaticKey, ...]:
    """Return the keys that an environment declares: `API_KEY_<NAME>=<whole key>`, each owned by its name.

    Empty variables count as absent. `API_KEY_PEPPER` and other names of settings are never taken for keys.

    Args:
        environ: Such as `os.environ`.
        secrets: The server's own peppers and keys: a variable that holds one of them is refused.

    Raises:
        ConfigurationError: A name that cannot be an owner's, one of the secrets, or one key under two names.
    """
    return _declared(environ.items(), "the environment", secrets)


def from_dotenv(text: str, *, source: str = ".env", secrets: Collection[str] = ()) -> tuple[StaticKey, ...]:
    """Return the keys that a `.env` file declares; other variables in it are passed over, and nothing is set.

    Lines are `NAME=value` or `export NAME=value`, the value bare or within one pair of quotes; `#` starts a comment at
    the beginning of a line and after a blank. Nothing in a value is expanded.

    Raises:
        ConfigurationError: A line that is none of these, a name twice, or as `from_environ` does.
    """
    entries: dict[str, str] = {}
    for each in assignments(text, source=source):
        if each.name in entries and each.name.startswith(PREFIX):
            raise ConfigurationError(f"{each.where}: {each.name} stands in it twice")
        entries[each.name] = each.value
    return _declared(entries.items(), source, secrets)


def check_guessable(key: str) -> None:
    """Refuse a key from elsewhere that somebody could guess.

    Raises:
        InvalidRequest: Too short, too long, or too regular; the key is not repeated.
    """
    if not _GRAPHIC.fullmatch(key) or not MIN_LENGTH <= len(key) <= MAX_LENGTH:
        raise InvalidRequest(
            f"a key that is not of our format has {MIN_LENGTH} to {MAX_LENGTH} printable ASCII characters, no blanks"
        )
    if len(set(key)) < MIN_DISTINCT or _repeats(key) or _counts(key) or bits_of(key) < MIN_BITS:
        raise InvalidRequest(
            f"a key that is not of our format must have at least {MIN_BITS} random bits, this one "
            "reads like fewer; `asgi-apikey issue` makes a good one"
        )


def bits_of(key: str) -> float:
    """Estimate how hard a key is to guess, low rather than high.

    Each character counts as one of the smallest usual alphabet that has them all; what reads like a word counts as one
    of 8,000, whatever its length. A random key of base62 loses a few bits by it, a passphrase nearly all.
    """
    if _HEX.fullmatch(key):
        return 4.0 * len(key)
    alphabet = sum(
        size
        for size, pattern in ((10, "[0-9]"), (26, "[a-z]"), (26, "[A-Z]"), (32, "[^0-9A-Za-z]"))
        if re.search(pattern, key)
    )
    words = [word for word in _WORD.findall(key) if _pronounceable(word)]
    rest = len(key) - sum(map(len, words))
    per_character = math.log2(alphabet) if alphabet else 0.0
    return rest * per_character + sum(min(_BITS_OF_A_WORD, len(word) * per_character) for word in words)


class StaticKeys:
    """Reads keys of our format, and besides them the declared ones that are of another shape.

    Such a key has no id in it, so it gets one that follows from it. Only declared ones do: what is neither is
    malformed, and never reaches the store.

    Args:
        parser: Reads keys of our format.
        declared: All that are declared.
        environment: Of keys that do not name one.

    Raises:
        ConfigurationError: A key that somebody could guess, or one that names another environment than its text.
    """

    def __init__(self, parser: KeyParser, declared: Sequence[StaticKey], *, environment: str) -> None:
        self._parser = parser
        self._foreign: dict[bytes, ParsedKey] = {}
        self._ids: list[tuple[StaticKey, ParsedKey]] = []
        for each in declared:
            self._ids.append((each, self._admitted(each, environment)))
        named = [parsed.key_id for _, parsed in self._ids]
        for each, parsed in self._ids:
            if named.count(parsed.key_id) > 1:
                raise ConfigurationError(f"{each.source}: the same key is declared twice")

    def __iter__(self) -> Iterator[tuple[StaticKey, ParsedKey]]:
        return iter(self._ids)

    def parse(self, presented: bytes) -> ParsedKey:
        """Take a presented key apart.

        Raises:
            MalformedKey: It is neither of our format nor declared.
        """
        if not self._foreign:
            return self._parser.parse(presented)
        try:
            return self._parser.parse(presented)
        except MalformedKey:
            # By digest: comparing the keys themselves would tell by its duration how much of one was right.
            found = self._foreign.get(_digest(presented))
            if found is None:
                raise
            return found

    def _admitted(self, declared: StaticKey, environment: str) -> ParsedKey:
        presented, wanted = declared.key.encode(errors="replace"), declared.request.environment
        try:
            parsed = self._parser.parse(presented)
        except MalformedKey:
            try:
                check_guessable(declared.key)
            except InvalidRequest as error:
                raise ConfigurationError(f"{declared.source}: {error}") from None
            parsed = ParsedKey(key_id_of(declared.key), wanted or environment, "")
            self._foreign[_digest(presented)] = parsed
        if wanted is not None and wanted != parsed.environment:
            raise ConfigurationError(f"{declared.source}: the key is one of {parsed.environment!r}, not of {wanted!r}")
        return parsed


def _pronounceable(word: str) -> bool:
    letters = word.lstrip("-_.")
    return 0.2 <= len(_VOWELS.findall(letters)) / len(letters) <= 0.7


def key_id_of(key: str) -> str:
    """Return the id of a key that has none: 71 bits of its SHA-256, of which nobody finds a key of 128 again."""
    number = int.from_bytes(_digest(key.encode()), "big")
    return base62(number % 62**KEY_ID_LENGTH, KEY_ID_LENGTH).decode()


def _digest(presented: bytes) -> bytes:
    return hashlib.sha256(_ID_LABEL + presented).digest()


def _declared(entries: Iterable[tuple[str, str]], source: str, secrets: Collection[str]) -> tuple[StaticKey, ...]:
    result = []
    for variable, value in sorted(entries):
        name = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or not value or name.upper() in NEVER_KEYS:
            continue
        if not _NAME.fullmatch(name):
            raise ConfigurationError(f"{variable} in {source}: write {PREFIX}<NAME> with letters, digits and _")
        if any(value == secret for secret in secrets):
            raise ConfigurationError(
                f"{variable} in {source} is a secret of the server, not a key: rename the variable"
            )
        request = KeyRequest(owner=name.lower(), name=variable, created_by=f"static:{source}"[: lifecycle.MAX_NAME])
        result.append(StaticKey(key=value, request=request, source=f"{variable} in {source}"))
    return tuple(result)


def _repeats(key: str) -> bool:
    return any(key[period:] == key[:-period] for period in range(1, len(key) // 2 + 1))


def _counts(key: str) -> bool:
    """Whether most characters stand at the same distance from the one before, as in `abcdef…`."""
    steps = [ord(right) - ord(left) for left, right in pairwise(key)]
    return max(map(steps.count, set(steps))) > len(key) // 2
