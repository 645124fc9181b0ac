"""What is shared: read back as it was written, by whoever has the secret, about this key in this store only."""

from __future__ import annotations

import json
import random
import secrets
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import KeyRecord, frozen_metadata
from asgi_apikey.sealing import MAX_ENTRY, SharedRecord, SharedSeal
from tests.fakes import NOON
from tests.records import a_record

SECRET = "aB3-dE5_gH7.jK9+mN1=pQ2/sT4*vW6^yZ8"
SEAL = SharedSeal(SECRET)

texts = st.text(max_size=20)
instants = st.none() | st.floats(0, 4e9)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda each: st.lists(each) | st.dictionaries(texts, each),
)
metadata = st.dictionaries(texts, json_values, max_size=3).map(frozen_metadata)
records = st.builds(
    KeyRecord,
    key_id=texts.filter(bool),
    digest=texts,
    version=st.integers(1, 2**31),
    owner=texts,
    tenant=texts,
    scopes=st.frozensets(texts, max_size=3),
    created_at=st.floats(0, 4e9),
    expires_at=instants,
    revoked_at=instants,
    metadata=metadata,
    tags=st.frozensets(texts, max_size=3),
    networks=st.frozensets(texts, max_size=3),
)


def shared(record: KeyRecord, **facts: object) -> SharedRecord:
    """An entry about a record."""
    return replace(SharedRecord(record, "store", 7, NOON, 60.0), **facts)  # type: ignore[arg-type]


@given(records, st.integers(0, 2**63 - 1))
def test_a_record_is_read_as_it_was_written(record: KeyRecord, position: int) -> None:
    """Every field of it, and where and when it was read."""
    entry = shared(record, position=position)
    sealed = SEAL.seal_record(entry)

    assert sealed is not None
    assert SEAL.open_record(sealed, "store", record.key_id) == entry


@given(records, st.data())
def test_a_changed_record_is_none(record: KeyRecord, data: st.DataObject) -> None:
    """Any bit flipped, any piece cut off or added."""
    sealed = SEAL.seal_record(shared(record)) or b""
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[:at] + bytes((sealed[at] ^ (1 << data.draw(st.integers(0, 7))),)) + sealed[at + 1 :]

    for changed in (flipped, sealed[:at], sealed + b" ", sealed[at + 1 :]):
        assert SEAL.open_record(changed, "store", record.key_id) is None


@pytest.mark.parametrize(
    ("seal", "store", "key_id"),
    [(SEAL, "store", "k2"), (SEAL, "copy", "k1"), (SharedSeal(SECRET[::-1]), "store", "k1")],
    ids=["another key", "another store", "another secret"],
)
def test_an_entry_is_of_one_place(seal: SharedSeal, store: str, key_id: str) -> None:
    """One that is moved to another key's name, or comes from a copy of the database, is not believed."""
    sealed = SEAL.seal_record(shared(a_record("k1"))) or b""

    assert seal.open_record(sealed, store, key_id) is None


def test_an_entry_of_another_version_is_not_understood() -> None:
    """During an upgrade two versions share a cache: what one does not know, it reads from the store."""
    sealed = SEAL.seal_record(shared(a_record("k1"))) or b""
    said = json.loads(sealed[32:])
    name = SEAL.record_name("store", "k1")
    later, less = [2, *said[1:]], [*said[:5], {"key_id": "k1"}]

    for other in (later, less):
        body = json.dumps(other).encode()
        assert SEAL.open_record(SEAL._record_mac(name, body) + body, "store", "k1") is None


def test_what_is_too_long_is_not_shared() -> None:
    """Nor read: a cache cannot make us parse megabytes."""
    assert SEAL.seal_record(shared(a_record(description="x" * MAX_ENTRY))) is None
    assert SEAL.open_record(bytes(MAX_ENTRY + 1), "store", "k1") is None


def test_a_proof_is_about_one_key_and_one_digest() -> None:
    """Under another name, or for another digest, it proves nothing."""
    name, other = SEAL.proof_name(b"key 1"), SEAL.proof_name(b"key 2")
    proof = SEAL.proof(name, "digest")

    assert SEAL.is_proof(proof, name, "digest")
    assert not SEAL.is_proof(proof, other, "digest")
    assert not SEAL.is_proof(proof, name, "another digest")
    assert not SharedSeal(SECRET[::-1]).is_proof(proof, name, "digest")


def test_names_and_proofs_tell_nothing() -> None:
    """Neither the key nor the digest stands in them, nor is what they are made of guessable without the secret."""
    name = SEAL.proof_name(b"ak_live_key")

    assert "ak_live" not in name
    assert name != SharedSeal(SECRET[::-1]).proof_name(b"ak_live_key")
    assert SECRET not in repr(SEAL)


def test_a_cache_without_a_secret_is_refused() -> None:
    """Whoever can write to it could make keys."""
    with pytest.raises(ConfigurationError, match="asgi-apikey pepper"):
        SharedSeal("short")


@pytest.mark.fuzz
def test_no_forgery_is_believed(fuzz_rounds: int) -> None:
    """Forged, swapped, old, cut and cross-wired entries, in bulk: not one is a record or a proof of this key."""
    chance, theirs = random.Random(2), SharedSeal(secrets.token_bytes(32))
    mine = SEAL.seal_record(shared(a_record("k1"))) or b""
    other = SEAL.seal_record(shared(a_record("k2"))) or b""
    name = SEAL.proof_name(b"key 1")
    proof = SEAL.proof(name, "digest")
    forgeries = [
        lambda: theirs.seal_record(shared(a_record("k1"))) or b"",
        lambda: other,
        lambda: other[:32] + mine[32:],
        lambda: mine[: chance.randrange(len(mine))],
        lambda: mine[32:],
        lambda: chance.randbytes(chance.randrange(300)),
        lambda: mine[:40] + chance.randbytes(1) + mine[40:],
        lambda: SEAL.proof(SEAL.proof_name(b"key 2"), "digest"),
        lambda: SEAL.proof(name, "an older digest"),
        lambda: proof[: chance.randrange(len(proof))],
        lambda: proof.upper() if proof.upper() != proof else b"",
    ]

    for _ in range(fuzz_rounds):
        forged = chance.choice(forgeries)()
        assert SEAL.open_record(forged, "store", "k1") is None
        assert not SEAL.is_proof(forged, name, "digest")
