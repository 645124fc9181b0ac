"""What every hasher must do. A subclass gives a fixture `hasher`, the same one for all calls of a test."""

from __future__ import annotations

import pytest

from asgi_apikey.models import Lane
from asgi_apikey.protocols import Hasher

KEY = b"ak_live_9fK2mQ7xT0aB_1ZtGq3uLw8RnYc5VbXe2HjMk7DsPo4FiTq1h2W"

FOREIGN = (
    "",
    "$",
    "x",
    "sha256$",
    "sha256$" + "A" * 42,
    "md5$" + "A" * 43,
    "hmac-sha256$$" + "A" * 43,
    "hmac-sha256$00000000$" + "A" * 43,
    "$argon2id$",
    "$argon2id$v=19$m=99999999999999999999,t=1,p=1$" + "A" * 22 + "$" + "A" * 43,
    "$2b$12$",
    "$2b$99$" + "." * 53,
    "\x00",
    "\ud800",
    "ключ",
    "A" * 100_000,
)
"""Digests that no hasher of any kind has made."""


class HasherContract:
    """The contract of `protocols.Hasher`."""

    @pytest.mark.anyio
    @pytest.mark.parametrize("lane", Lane)
    async def test_a_key_verifies_against_its_own_digest(self, hasher: Hasher, lane: Lane) -> None:
        """What was hashed is recognised, in either lane."""
        digest = await hasher.hash(KEY)

        assert await hasher.verify(KEY, digest, lane=lane)

    @pytest.mark.anyio
    async def test_a_new_digest_is_accepted_and_current(self, hasher: Hasher) -> None:
        """A hasher accepts what it makes and would not replace it."""
        digest = await hasher.hash(KEY)

        assert hasher.accepts(digest)
        assert not hasher.outdated(digest)

    @pytest.mark.anyio
    async def test_no_other_key_verifies(self, hasher: Hasher) -> None:
        """A key that differs anywhere, also far to the right or after a NUL, does not match."""
        long = KEY * 4 + b"\0" + KEY
        digests = {KEY: await hasher.hash(KEY), long: await hasher.hash(long)}
        others = {
            KEY: (b"", KEY[:-1], KEY + b"\0", KEY + b"A", KEY.swapcase(), b"\0" + KEY, KEY[:-1] + b"X", long),
            long: (long[:-1], long[:-1] + b"X", KEY * 4, KEY * 4 + b"\0", KEY),
        }

        for key, digest in digests.items():
            for other in others[key]:
                assert not await hasher.verify(other, digest, lane=Lane.STRANGER)

    @pytest.mark.anyio
    async def test_every_character_of_a_digest_counts(self, hasher: Hasher) -> None:
        """A digest that was changed in one place, or shortened, or lengthened, matches nothing."""
        digest = await hasher.hash(KEY)
        changed = [digest[:at] + other(digest[at]) + digest[at + 1 :] for at in range(len(digest))]

        for each in (*changed, digest[:-1], digest + "A", digest + "\n", " " + digest, digest.upper()):
            assert not await hasher.verify(KEY, each, lane=Lane.STRANGER)

    @pytest.mark.anyio
    @pytest.mark.parametrize("digest", FOREIGN, ids=range(len(FOREIGN)))
    async def test_a_foreign_digest_matches_nothing(self, hasher: Hasher, digest: str) -> None:
        """What this hasher did not make is not accepted, matches nothing, and is no reason to raise."""
        assert not hasher.accepts(digest)
        assert not await hasher.verify(KEY, digest, lane=Lane.STRANGER)

    @pytest.mark.anyio
    async def test_the_decoy_is_like_any_digest_but_matches_nothing(self, hasher: Hasher) -> None:
        """The decoy is accepted and current, so verifying it does the same work, and no key matches it."""
        digest = await hasher.hash(KEY)

        assert hasher.accepts(hasher.decoy)
        assert not hasher.outdated(hasher.decoy)
        assert len(hasher.decoy) == len(digest)
        for key in (KEY, b"", hasher.decoy.encode()):
            assert not await hasher.verify(key, hasher.decoy, lane=Lane.STRANGER)

    @pytest.mark.anyio
    @pytest.mark.parametrize("lane", Lane)
    async def test_a_key_can_be_hashed_in_either_lane(self, hasher: Hasher, lane: Lane) -> None:
        """What can wait is hashed in the strangers' lane; the digest is like any other."""
        digest = await hasher.hash(KEY, lane=lane)

        assert not hasher.outdated(digest)
        assert await hasher.verify(KEY, digest, lane=Lane.PROVEN)

    @pytest.mark.anyio
    async def test_a_closed_hasher_may_be_used_again(self, hasher: Hasher) -> None:
        """Closing is idempotent and lets go of threads, not of anything that is needed to verify."""
        digest = await hasher.hash(KEY)
        hasher.close()
        hasher.close()

        assert await hasher.verify(KEY, digest, lane=Lane.STRANGER)
        assert not hasher.outdated(await hasher.hash(KEY))
        hasher.close()

    @pytest.mark.anyio
    async def test_a_digest_tells_nothing_of_the_key(self, hasher: Hasher) -> None:
        """Neither the digest nor the hasher's repr holds a part of the key."""
        digest = await hasher.hash(KEY)

        assert KEY.decode()[-38:] not in digest
        assert KEY.decode()[-38:] not in f"{hasher!r} {hasher}"


def other(character: str) -> str:
    """A different character of the same kind, so that the digest keeps its shape where it can."""
    if character.isdigit():
        return str((int(character) + 1) % 10)
    if character.isalpha():
        return "b" if character == "a" else "B" if character == "A" else ("a" if character.islower() else "A")
    return "A"
