"""Keys that the real systems have made are accepted, and nothing that only looks like them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asgi_apikey import APIKeys
from asgi_apikey.adopted.systems import ForeignSystem
from asgi_apikey.errors import DisabledKey, ExpiredKey, InvalidKey, MalformedKey, RevokedKey, UnknownKey
from asgi_apikey.models import Lane, Status
from asgi_apikey.verification import status_of
from tests.adoption.golden import GOLDEN, NOW, Golden, named
from tests.adoption.worlds import PEPPER, system_of
from tests.fakes import FakeClock

each_golden = pytest.mark.parametrize("golden", GOLDEN, ids=named)
SLOW = {"argon2", "pbkdf2"}
"""Schemes of which each comparison takes a tenth of a second and more."""
ENDS = {"game": None, "better-auth": 1_821_244_761.529}
"""Of systems whose keys have no end, or cannot have any that one likes."""
END = 4_073_545_800.0
"""2099-01-31T12:30:00Z."""
REFUSED = {"inactive": DisabledKey, "revoked": RevokedKey, "expired": ExpiredKey}
STATUS = {"inactive": Status.DISABLED, "revoked": Status.REVOKED, "expired": Status.EXPIRED}

pytestmark = pytest.mark.anyio


def keys_for(system: ForeignSystem) -> APIKeys:
    """A store of our own, which accepts the keys of the system."""
    return APIKeys("memory:", pepper=PEPPER, adopted=[system], clock=FakeClock(NOW))


def changed(key: bytes) -> Iterator[bytes]:
    """The key with one byte changed, each in turn; once to another letter, once by one bit."""
    for place in range(len(key)):
        for other in (b"A" if key[place : place + 1] != b"A" else b"B", bytes([key[place] ^ 1])):
            yield key[:place] + other + key[place + 1 :]


@each_golden
async def test_a_key_is_accepted_and_its_digest_becomes_ours(golden: Golden) -> None:
    """On first use; afterwards it is verified as any other key of ours."""
    system = system_of(golden)
    async with keys_for(system) as keys:
        await keys.import_records(golden.records())
        before = golden.record(system, "active")
        principal = await keys.authenticate(golden.keys["active"].encode())
        await keys.close()  # waits for what is under way
        after = await keys.get(before.key_id)
        again = await keys.authenticate(golden.keys["active"].encode())

    assert before.digest.startswith(golden.system)
    assert (principal.key_id, again.key_id) == (before.key_id, before.key_id)
    assert after.digest.startswith("hmac-sha256$")
    assert (after.version, after.owner, after.created_at) == (before.version, before.owner, before.created_at)


@each_golden
async def test_an_adopted_key_is_revocable_at_once(golden: Golden) -> None:
    """Before its first use, and after."""
    system = system_of(golden)
    async with keys_for(system) as keys:
        await keys.import_records(golden.records())
        await keys.authenticate(golden.keys["active"].encode())
        for label in ("active", "ending"):
            receipt = await keys.revoke(golden.record(system, label).key_id)
            with pytest.raises(RevokedKey):
                await keys.authenticate(golden.keys[label].encode())

            assert receipt.confirmed


@each_golden
async def test_what_has_ended_there_has_ended_here(golden: Golden) -> None:
    """Switched off, revoked, expired; and what ends later ends here, too."""
    system = system_of(golden)
    async with keys_for(system) as keys:
        await keys.import_records(golden.records())
        for label in golden.keys.keys() & REFUSED.keys():
            with pytest.raises(REFUSED[label]):
                await keys.authenticate(golden.keys[label].encode())

            assert status_of(golden.record(system, label), NOW) is STATUS[label]
        assert golden.record(system, "ending").expires_at == ENDS.get(golden.system, END)


@each_golden
async def test_every_single_byte_counts(golden: Golden) -> None:
    """Another byte leads to another record or to none, or does not match the digest."""
    if golden.scheme in SLOW:
        return await the_secret_counts(golden)
    system, key = system_of(golden), golden.keys["active"].encode()
    record = golden.record(system, "active")

    assert await system.digests.verify(key, record.digest, lane=Lane.PROVEN)
    for other in changed(key):
        assert system.shape.key_id(other) != record.key_id or not await system.digests.verify(
            other, record.digest, lane=Lane.PROVEN
        ), other
    return None


async def the_secret_counts(golden: Golden) -> None:
    """The same of what takes a tenth of a second a time: the first byte and the last."""
    system, key = system_of(golden), golden.keys["active"].encode()
    record = golden.record(system, "active")
    shorter = [each for each in changed(key) if system.shape.key_id(each) == record.key_id]

    assert len(shorter) >= 32
    for other in (shorter[0], shorter[-1]):
        assert not await system.digests.verify(other, record.digest, lane=Lane.PROVEN)


@each_golden
async def test_a_digest_moved_to_another_row_matches_nothing(golden: Golden) -> None:
    """Neither that row's key nor its own."""
    system = system_of(golden)
    mine, theirs = (golden.record(system, label) for label in ("active", "ending"))

    assert not await system.digests.verify(golden.keys["active"].encode(), theirs.digest, lane=Lane.PROVEN)
    assert mine.key_id != theirs.key_id


@each_golden
async def test_what_nobody_has_taken_over_is_unknown(golden: Golden) -> None:
    """And without the system among `adopted`, malformed: it never reaches the store."""
    key = golden.keys["active"].encode()
    async with keys_for(system_of(golden)) as keys:
        with pytest.raises(UnknownKey):
            await keys.authenticate(key)
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        with pytest.raises(MalformedKey):
            await keys.authenticate(key)


@each_golden
async def test_without_the_system_its_rows_are_refused(golden: Golden) -> None:
    """A digest of a scheme that this process was not given is no reason to let anybody in."""
    system = system_of(golden)
    async with APIKeys("memory:", pepper=PEPPER) as keys:
        await keys.import_records(golden.records())
        with pytest.raises(InvalidKey):
            await keys.authenticate(golden.keys["active"].encode())

        assert not keys.hasher.accepts(golden.record(system, "active").digest)


@each_golden
def test_no_secret_is_in_a_repr(golden: Golden) -> None:
    """Neither pepper nor digest nor key."""
    system = system_of(golden)
    shown = f"{system!r} {golden.records()!r}"

    assert golden.pepper not in shown or not golden.pepper
    assert all(each.digest not in shown for each in golden.records())
