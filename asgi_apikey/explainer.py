"""Why a key is accepted or not: each stage of the decision by itself, for operators.

Nothing is counted, remembered or taken, and the store is asked whatever this process remembers. What is told is for
those who run the service: outside, most reasons must look the same.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from asgi_apikey.errors import InvalidKey, InvalidRequest, Undecidable
from asgi_apikey.keyformat import MAX_LENGTH
from asgi_apikey.models import KeyRecord, Lane, Seconds, Verdict
from asgi_apikey.paths import is_plain
from asgi_apikey.policy import Restrictions, missing_scopes, restrictions_of
from asgi_apikey.protocols import Clock, Hasher, KeyReader
from asgi_apikey.verification import status_of


class Decision(enum.StrEnum):
    """What a stage decides."""

    PASSED = "passed"
    REFUSED = "refused"
    UNDECIDED = "undecided"
    """It cannot be told now: the answer is 503."""
    NOTED = "noted"
    """It decides nothing of its own."""
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage.

    Attributes:
        name: Of `STAGES`, or `found`.
        decision: What it decides.
        detail: Why, for people; never a secret, nor a digest.
    """

    name: str
    decision: Decision
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All stages, in the order in which a request goes through them.

    Attributes:
        key_id: Of the presented key, where it has a readable one; that somebody has named it proves nothing.
    """

    stages: tuple[Stage, ...]
    key_id: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether every stage lets the request pass."""
        return all(each.decision in (Decision.PASSED, Decision.NOTED) for each in self.stages)

    @property
    def refused_by(self) -> str | None:
        """The first stage that does not."""
        return next((each.name for each in self.stages if each.decision not in (Decision.PASSED, Decision.NOTED)), None)

    def __str__(self) -> str:
        """One line for each stage."""
        width = max(len(each.name) for each in self.stages)
        return "\n".join(f"{each.name:{width}}  {each.decision:11}  {each.detail}".rstrip() for each in self.stages)


STAGES: Final = (
    "parsed",
    "environment",
    "remembered",
    "record",
    "digest",
    "standing",
    "networks",
    "origins",
    "routes",
    "scopes",
)
"""In their order."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a key is presented with.

    Attributes:
        method: In capitals; `WEBSOCKET` for a handshake.
        path: Decoded.
        address: Of the client; None if it has none, or it is unknown.
        origin: What its one `Origin` says; None if there is none, or more than one.
        scopes: What it needs.
    """

    method: str | None = None
    path: str | None = None
    address: str | None = None
    origin: str | None = None
    scopes: frozenset[str] = frozenset()


class _ParsedKey(Protocol):
    @property
    def key_id(self) -> str: ...

    @property
    def environment(self) -> str: ...


class _Memory(Protocol):
    def recall(self, fingerprint: bytes) -> Verdict: ...

    def rejection(self, fingerprint: bytes, now: Seconds) -> InvalidKey | None: ...


Parse: TypeAlias = Callable[[bytes], _ParsedKey]


class Explainer:
    """Explains.

    Args:
        reader: Where records are read.
        hasher: Compares a key with a digest.
        parse: Takes a presented key apart.
        memory: What this process remembers.
        fingerprint: Under which name.
        rights: Makes scopes of a record's roles.
        clock: Wall and monotonic time.
        environment: Whose keys are accepted.
    """

    def __init__(
        self,
        reader: KeyReader,
        hasher: Hasher,
        *,
        parse: Parse,
        memory: _Memory,
        fingerprint: Callable[[bytes], bytes],
        rights: Callable[[KeyRecord], KeyRecord],
        clock: Clock,
        environment: str,
    ) -> None:
        self._reader = reader
        self._hasher = hasher
        self._parse = parse
        self._memory = memory
        self._fingerprint = fingerprint
        self._rights = rights
        self._clock = clock
        self._environment = environment

    async def explain(
        self,
        presented: bytes | str,
        *,
        method: str | None = None,
        path: str | None = None,
        address: str | None = None,
        origin: str | None = None,
        scopes: Collection[str] = (),
    ) -> Explanation:
        """Return what each stage decides about a presented key, now.

        What is left out of the request is missing: a key that is bound to networks is refused without an address.

        Args:
            presented: The whole key.
            method: Of the request, in capitals; `WEBSOCKET` for a handshake.
            path: The whole path, decoded, without the query.
            address: Of the client.
            origin: What the request's `Origin` says.
            scopes: What the request needs.

        Raises:
            InvalidRequest: The scopes are one string.
        """
        if isinstance(scopes, str):
            raise InvalidRequest("scopes must be a collection of names, not one string")
        asked = Asked(method, path, address, origin, frozenset(scopes))
        key = presented.encode(errors="surrogatepass") if isinstance(presented, str) else presented
        try:
            parsed = self._parse(key) if len(key) <= MAX_LENGTH else None
        except InvalidKey:
            parsed = None
        if parsed is None:
            return _complete([Stage("parsed", Decision.REFUSED, "not the shape of a key, or its checksum is wrong")])
        stages = [Stage("parsed", Decision.PASSED, f"key id {parsed.key_id}"), self._environment_of(parsed)]
        stages.append(self._remembered(key))
        # A key of another environment is not looked up; its record is of no interest then.
        record = await self._found(key, parsed.key_id, stages) if stages[1].decision is Decision.PASSED else None
        if record is not None:
            stages += [self._standing(record), *_restrictions(record, asked), _scopes(self._rights(record), asked)]
        return _complete(stages, parsed.key_id)

    def _environment_of(self, parsed: _ParsedKey) -> Stage:
        same = parsed.environment == self._environment
        detail = f"{_quoted(parsed.environment)}, and {_quoted(self._environment)} is served"
        return Stage("environment", Decision.PASSED if same else Decision.REFUSED, "" if same else detail)

    def _remembered(self, key: bytes) -> Stage:
        """Say what this process would answer from memory; the stages to come say whether it is still so."""
        fingerprint, now = self._fingerprint(key), self._clock.monotonic()
        rejection = self._memory.rejection(fingerprint, now)
        if rejection is not None:
            return Stage("remembered", Decision.NOTED, f"rejected lately, as {rejection.reason}")
        try:
            verdict = self._memory.recall(fingerprint)
        except KeyError:
            return Stage("remembered", Decision.NOTED, "nothing")
        left = verdict.deadline - now
        detail = f"accepted at version {verdict.version}" if left > 0 else "nothing that is still used"
        return Stage("remembered", Decision.NOTED, detail)

    async def _found(self, key: bytes, key_id: str, stages: list[Stage]) -> KeyRecord | None:
        """Add what the record and its digest decide; return the record if the key is that record's."""
        stage = "record"
        try:
            record = await self._reader.get(key_id)
            if record is None:
                stages.append(Stage(stage, Decision.REFUSED, "there is none with this id"))
                return None
            stages.append(Stage(stage, Decision.PASSED, f"version {record.version}, of owner {_quoted(record.owner)}"))
            stage = "digest"
            stages.append(await self._digest(key, record))
        except Undecidable as error:
            stages.append(Stage(stage, Decision.UNDECIDED, error.code))
            return None
        return record if stages[-1].decision is Decision.PASSED else None

    async def _digest(self, key: bytes, record: KeyRecord) -> Stage:
        if not self._hasher.accepts(record.digest):
            return Stage("digest", Decision.REFUSED, "under a pepper or scheme that this process was not given")
        # Whoever asks here has the key in hand: there are no strangers to be kept apart.
        if not await self._hasher.verify(key, record.digest, lane=Lane.PROVEN):
            return Stage("digest", Decision.REFUSED, "the secret is another one")
        return Stage("digest", Decision.PASSED)

    def _standing(self, record: KeyRecord) -> Stage:
        if record.environment != self._environment:
            return Stage("standing", Decision.REFUSED, f"the record is of {_quoted(record.environment)}")
        status = status_of(record, self._clock.wall())
        return Stage("standing", Decision.PASSED if status == "active" else Decision.REFUSED, str(status))


def _complete(stages: list[Stage], key_id: str | None = None) -> Explanation:
    reached = {each.name for each in stages}
    rest = [Stage(name, Decision.NOT_REACHED) for name in STAGES if name not in reached]
    return Explanation((*stages, *rest), key_id)


def _restrictions(record: KeyRecord, asked: Asked) -> list[Stage]:
    try:
        rules = restrictions_of(record.networks, record.routes, record.origins) or Restrictions(None, None)
    except InvalidRequest:
        # As for a request: without its restrictions nobody can say what the key may do.
        detail = "a restriction of the record cannot be read; was it changed by other means?"
        return [Stage(name, Decision.UNDECIDED, detail) for name in ("networks", "origins", "routes")]
    path = asked.path if asked.path is not None and is_plain(asked.path) else None
    method = asked.method or ""
    page = "no origin" if asked.origin is None else f"origin {_quoted(asked.origin)}"
    place = "no address" if asked.address is None else f"address {_quoted(asked.address)}"
    route = f"{_quoted(method)} {'no path, or one in an odd spelling' if path is None else _quoted(path)}"
    return [
        _judged("networks", rules.networks is None or rules.networks.admit(asked.address), place, record.networks),
        _judged("origins", rules.origins is None or rules.origins.admit(asked.origin), page, record.origins),
        _judged("routes", rules.routes is None or rules.routes.admit(method, path), route, record.routes),
    ]


def _judged(name: str, admitted: bool, what: str, rules: frozenset[str]) -> Stage:
    if not rules:
        return Stage(name, Decision.PASSED, "not restricted")
    detail = f"{what}; allowed: {', '.join(sorted(rules))}"
    return Stage(name, Decision.PASSED if admitted else Decision.REFUSED, detail)


def _scopes(record: KeyRecord, asked: Asked) -> Stage:
    missing = missing_scopes(record.scopes, asked.scopes)
    if missing:
        return Stage("scopes", Decision.REFUSED, f"missing: {_quoted(' '.join(sorted(missing)))}")
    return Stage("scopes", Decision.PASSED, f"granted: {' '.join(sorted(record.scopes)) or 'none'}")


def _quoted(text: str) -> str:
    """What came from outside, so that it cannot write lines of its own into a terminal or a log."""
    return json.dumps(text[:200])
