"""The chain of the audit: how an entry is sealed, and what a chain that was tampered with looks like.

Each entry is sealed together with the seal of the one before, so whoever changes, removes or moves an entry has to make
all later seals anew:

    seal = HMAC-SHA-256(audit key, label ‖ seal before ‖ NUL ‖ entry)      hmac-sha256$<key id>$<hex>
    seal = SHA-256(label ‖ seal before ‖ NUL ‖ entry)                      sha256$<hex>, without an audit key

Anybody can make the second kind, so without a key only a head that was exported earlier, and kept where whoever can
write to the store cannot, shows that all seals are new. The first entry is sealed with the store's id and the feed
position at which its audit began, so that the beginning cannot be cut off either.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from asgi_apikey.models import AuditAnchor, AuditEntry, Change

# Part of every seal: these never change.
ENTRY_LABEL: Final = b"asgi-apikey audit 1\0"
HEAD_LABEL: Final = b"asgi-apikey audit head 1\0"

_SEAL: Final = re.compile(r"(?:hmac-sha256\$([0-9a-f]{8})|sha256)\$[0-9a-f]{64}")
_PLAIN: Final = -1
_MICROSECONDS: Final = 1_000_000

MAX_FINDINGS: Final = 100
"""Of one verification: an attacker who rewrites a million entries must not fill a memory or a terminal."""


class KeyRing(Protocol):
    """Secret keys by id; iterating yields the ids, newest first."""

    @property
    def newest(self) -> str:
        """The id of the key that seals."""
        ...

    def __contains__(self, key_id: str) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def mac(self, key_id: str, label: bytes, message: bytes) -> bytes:
        """HMAC-SHA-256 of label and message under one of the keys."""
        ...


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest entry at some time, to be kept outside of the store: what came before it can be proven with it.

    Attributes:
        database_id: Of the store.
        number: Of the entry.
        seq: Its feed position.
        mac: Its seal.
        signature: Of the four above, under the audit key or, without one, a plain digest.
    """

    database_id: str
    number: int
    seq: int
    mac: str
    signature: str = ""


class AuditChain:
    """Seals entries and compares seals.

    Args:
        ring: The audit keys, newest last; None: seals are plain SHA-256.
    """

    def __init__(self, ring: KeyRing | None = None) -> None:
        self._ring = ring
        oldest_first = [] if ring is None else [*ring][::-1]
        self._ranks = {key_id: rank for rank, key_id in enumerate(oldest_first)}

    @property
    def keyed(self) -> bool:
        """Whether there is an audit key."""
        return self._ring is not None

    def seal(self, previous: str, entry: bytes) -> str:
        """Return the seal of an entry; this is the `Seal` of a `Note`."""
        return self._made(None if self._ring is None else self._ring.newest, ENTRY_LABEL, _message(previous, entry))

    def holds(self, mac: str, previous: str, entry: bytes) -> bool:
        """Whether `mac` is the seal of this entry after the one sealed `previous`; False for an unknown key."""
        return self._holds(mac, ENTRY_LABEL, _message(previous, entry))

    def rank(self, mac: str) -> int:
        """Order seals by how new their key is: -1 for a plain one, 0 and up by the place in the ring.

        A chain whose rank falls was continued by somebody who lacks the newer key.
        """
        match = _SEAL.fullmatch(mac)
        return _PLAIN if match is None or match[1] is None else self._ranks.get(match[1], _PLAIN)

    def signed(self, head: AuditHead) -> AuditHead:
        """Return the head with its signature."""
        key_id = None if self._ring is None else self._ring.newest
        signature = self._made(key_id, HEAD_LABEL, _head_bytes(head))
        return AuditHead(head.database_id, head.number, head.seq, head.mac, signature)

    def vouches_for(self, head: AuditHead) -> bool:
        """Whether the head's signature is right and, where there is an audit key, made with one."""
        right = self._holds(head.signature, HEAD_LABEL, _head_bytes(head))
        return right and (self._ring is None or self.rank(head.signature) > _PLAIN)

    def _holds(self, mac: str, label: bytes, message: bytes) -> bool:
        match = _SEAL.fullmatch(mac)
        if match is None or (match[1] is not None and (self._ring is None or match[1] not in self._ring)):
            return False
        return hmac.compare_digest(mac, self._made(match[1], label, message))

    def _made(self, key_id: str | None, label: bytes, message: bytes) -> str:
        if key_id is None or self._ring is None:
            return f"sha256${hashlib.sha256(label + message).hexdigest()}"
        return f"hmac-sha256${key_id}${self._ring.mac(key_id, label, message).hex()}"


def genesis(anchor: AuditAnchor) -> str:
    """Return what stands in the place of a seal before the first entry of a store."""
    return f"begin${anchor.database_id}${anchor.after}"


def canonical(entry: AuditEntry) -> bytes:
    """Return the bytes of an entry that its seal is about: a JSON array in ASCII, the instant in microseconds."""
    values = [
        entry.number,
        entry.seq,
        round(entry.at * _MICROSECONDS),
        entry.actor,
        entry.action,
        entry.key_id,
        entry.tenant,
        entry.version,
        list(entry.fields),
        entry.reason,
        entry.correlation_id,
    ]
    return json.dumps(values, separators=(",", ":")).encode("ascii")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in the audit that cannot be so.

    Attributes:
        number: Of the entry where it shows; None where it is about none.
        what: One line for people.
    """

    number: int | None
    what: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification has found.

    Attributes:
        head: The newest entry that was read, signed; None for an empty audit.
        entries: How many were read.
        keyed: Whether an audit key was there to compare with: without one, a rewritten audit shows only beside a head
            that was exported before.
        findings: What is wrong, at most 100; empty when all is well.
    """

    head: AuditHead | None
    entries: int
    keyed: bool
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(slots=True)
class AuditInspection:
    """Looks at all entries of an audit, oldest first, each beside its rows of the change feed.

    Give it every entry up to the anchor with `see`, then ask for the `report`.

    Args:
        chain: Knows the audit keys.
        anchor: Read before the first entry.
        known: Heads that were exported earlier.
    """

    chain: AuditChain
    anchor: AuditAnchor
    known: Sequence[AuditHead] = ()
    _findings: list[Finding] = field(default_factory=list)
    _last: AuditEntry | None = None
    _entries: int = 0
    _met: set[int] = field(default_factory=set)

    def see(self, entry: AuditEntry) -> None:
        """Look at the next entry."""
        last = self._last
        expected = 1 if last is None else last.number + 1
        previous = genesis(self.anchor) if last is None else last.mac
        if entry.number != expected:
            missing = f"{expected}" if entry.number == expected + 1 else f"{expected} to {entry.number - 1}"
            self.find(entry.number, f"missing before this one: {missing}")
        elif not self.chain.holds(entry.mac, previous, canonical(entry)):
            self.find(entry.number, "the seal does not fit: this entry or the one before was changed or moved")
        if last is not None and self.chain.rank(entry.mac) < self.chain.rank(last.mac):
            self.find(entry.number, "sealed without the audit key that sealed the one before")
        if last is not None and entry.seq < last.seq:
            self.find(entry.number, f"feed position {entry.seq} comes after {last.seq}")
        for head in self.known:
            if head.number == entry.number:
                self._met.add(head.number)
                if head.mac != entry.mac:
                    self.find(entry.number, "not the entry that an exported head names: the audit was rewritten")
        self._last = entry
        self._entries += 1

    def compare(self, change: Change, entries: Sequence[AuditEntry]) -> None:
        """Look at one row of the feed beside the entries of its position.

        A row about all keys at once (`key_id` is empty) has an entry for each of them.
        """
        if not entries:
            self.find(None, f"change {change.seq} of key {change.key_id or '*'} has no entry")
        for entry in entries:
            if change.key_id and (entry.key_id, entry.version) != (change.key_id, change.version):
                self.find(entry.number, f"the change feed tells of another key or version at {change.seq}")

    def find(self, number: int | None, what: str) -> None:
        """Add a finding, while there is room."""
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(number, what))

    def report(self) -> AuditReport:
        """Look at the end, and return everything that was found."""
        last, anchor = self._last, self.anchor
        number, seq = (0, anchor.after) if last is None else (last.number, last.seq)
        if number != anchor.entries:
            self.find(None, f"entries {number + 1} to {anchor.entries} are missing at the end")
        if seq < anchor.position:
            self.find(
                None, f"the change feed goes on to {anchor.position}, the audit ends at {seq}: its end was cut off"
            )
        if last is not None and self.chain.keyed and self.chain.rank(last.mac) == _PLAIN:
            self.find(last.number, "not sealed with any audit key: written by a process without one, or rewritten")
        for head in self.known:
            self._judge(head)
        newest = None if last is None else self.chain.signed(AuditHead(anchor.database_id, number, seq, last.mac))
        return AuditReport(newest, self._entries, self.chain.keyed, tuple(self._findings))

    def _judge(self, head: AuditHead) -> None:
        if not self.chain.vouches_for(head):
            self.find(
                head.number, "the exported head is not signed with this audit key: it was changed, or is another's"
            )
        if head.database_id != self.anchor.database_id:
            self.find(None, "the exported head is of another store")
        elif head.number and head.number not in self._met:
            self.find(None, f"entry {head.number}, which an exported head names, is not there: the end was cut off")


def _message(previous: str, entry: bytes) -> bytes:
    return previous.encode() + b"\0" + entry


def _head_bytes(head: AuditHead) -> bytes:
    return json.dumps([head.database_id, head.number, head.seq, head.mac], separators=(",", ":")).encode("ascii")
