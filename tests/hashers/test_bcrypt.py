"""bcrypt of the whole key."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial

import anyio
import bcrypt
import pytest

from asgi_apikey.errors import ConfigurationError, Overloaded
from asgi_apikey.hashers.bcrypt import BcryptHasher
from asgi_apikey.models import Lane
from tests.contracts.hasher import KEY, HasherContract

OLD = "7Zp3mQ0wX9vKc2LrT5sNbH8yJ4dF6gAe1uRiOoWq"
NEW = "nC4xV8bT1yQ6kP3fJ9wZ2sL7hR5gD0mAeUiOqWxY"


class TestBcrypt(HasherContract):
    """Without a pepper it passes the contract."""

    @pytest.fixture
    def hasher(self) -> BcryptHasher:
        """The least cost there is."""
        return BcryptHasher(cost=4)


class TestBcryptPeppered(HasherContract):
    """With peppers it passes the contract."""

    @pytest.fixture
    def hasher(self) -> BcryptHasher:
        """A ring, plain digests accepted."""
        return BcryptHasher(cost=4, peppers=(OLD, NEW), accept_plain=True)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_runs_on_both_event_loops() -> None:
    """Hashing and verifying are the same under asyncio and trio."""
    hasher = BcryptHasher(cost=4)

    assert await hasher.verify(KEY, await hasher.hash(KEY), lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_golden_digests_verify_for_ever() -> None:
    """Digests of released versions: a table written by any of them stays readable."""
    plain = "sha256+bcrypt$2b$04$S2W6SdfdN8anwVViwOciGevG.ua4Kgw2YOgapzoBKxoMjNw/cqjQW"
    keyed = "hmac-sha256+bcrypt$a64b9e1b$2b$04$4PI4UpYLQqfc0/a4cyEx9OkNC9mL5tYj6drzzZ.Orupz8ap3LJbha"

    assert await BcryptHasher(cost=4).verify(b"ak_live_golden", plain, lane=Lane.STRANGER)
    assert await BcryptHasher(cost=4, peppers=OLD).verify(b"ak_live_golden", keyed, lane=Lane.STRANGER)


def test_bcrypt_of_the_bare_key_is_not_ours() -> None:
    """A bare `$2b$` string belongs to another system."""
    bare = bcrypt.hashpw(KEY, bcrypt.gensalt(4)).decode()

    assert not BcryptHasher().accepts(bare)


@pytest.mark.anyio
async def test_another_cost_verifies_and_is_outdated() -> None:
    """A change of cost keeps old digests alive, and marks them for replacement."""
    before = await BcryptHasher(cost=5).hash(KEY)
    hasher = BcryptHasher(cost=4)

    assert before.startswith("sha256+bcrypt$2b$05$")
    assert hasher.outdated(before)
    assert await hasher.verify(KEY, before, lane=Lane.STRANGER)


@pytest.mark.anyio
async def test_peppers_rotate() -> None:
    """Old peppers verify and are outdated; dropped ones, and none at all, match nothing."""
    before = await BcryptHasher(cost=4, peppers=OLD).hash(KEY)
    plain = await BcryptHasher(cost=4).hash(KEY)
    rotated, dropped = BcryptHasher(cost=4, peppers=[OLD, NEW]), BcryptHasher(cost=4, peppers=NEW)
    retired = BcryptHasher(cost=4, peppers=NEW, accept_plain=True)

    assert rotated.outdated(before)
    assert await rotated.verify(KEY, before, lane=Lane.STRANGER)
    assert not await dropped.verify(KEY, before, lane=Lane.STRANGER)
    assert not await dropped.verify(KEY, plain, lane=Lane.STRANGER)
    assert not await BcryptHasher(cost=4).verify(KEY, before, lane=Lane.STRANGER)
    assert await retired.verify(KEY, plain, lane=Lane.STRANGER)
    assert retired.outdated(plain)


def test_a_row_cannot_ask_for_unbearable_work() -> None:
    """A digest of cost 31 would hold a thread for days: it is not accepted, unless that is the cost in use."""
    dear = BcryptHasher(cost=31).decoy

    assert not BcryptHasher().accepts(dear)
    assert BcryptHasher(cost=31).accepts(dear)
    assert BcryptHasher(cost=4).accepts(BcryptHasher(cost=15).decoy)
    assert not BcryptHasher(cost=4).accepts(BcryptHasher(cost=16).decoy)


@pytest.mark.parametrize("cost", [-1, 0, 3, 32, 1000])
def test_an_impossible_cost_is_refused(cost: int) -> None:
    """It would fail with the first key; it fails while wiring."""
    with pytest.raises(ConfigurationError, match="4 to 31"):
        BcryptHasher(cost=cost)


def test_without_the_library_the_extra_is_named() -> None:
    """Importing the module without bcrypt says what to install."""
    script = "import sys; sys.modules['bcrypt'] = None; import asgi_apikey.hashers.bcrypt"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install 'asgi-apikey[bcrypt]'" in done.stderr


@pytest.mark.anyio
async def test_a_flood_of_strangers_stops_neither_hashing_nor_proven_keys() -> None:
    """With every stranger's place taken, strangers are refused; new digests and proven keys have a thread left."""
    hasher = BcryptHasher(cost=4, workers=2, queue=0)
    gate = threading.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(hasher._pool.run, partial(gate.wait, 30), lane=Lane.STRANGER))
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Overloaded):
            await hasher.verify(KEY, hasher.decoy, lane=Lane.STRANGER)
        digest = await hasher.hash(KEY)

        assert await hasher.verify(KEY, digest, lane=Lane.PROVEN)
        gate.set()


def test_no_pepper_shows() -> None:
    """A hasher in a log, or everything it holds, gives no pepper away."""
    hasher = BcryptHasher(peppers=NEW)

    assert NEW not in f"{hasher!r} {vars(hasher)!r}"
