"""Declared keys: which variables are taken for keys, which keys are taken at all, and that loading is idempotent."""

from __future__ import annotations

import random
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey import APIKeys
from asgi_apikey.errors import ConfigurationError, InvalidKey, InvalidRequest, MalformedKey, RevokedKey
from asgi_apikey.keyformat import KeyFormat
from asgi_apikey.models import KeyQuery
from asgi_apikey.repositories.memory import MemoryRepository
from asgi_apikey.statickeys import NEVER_KEYS, bits_of, check_guessable, from_dotenv, from_environ, key_id_of
from tests.fakes import Watched
from tests.wiring import LATER_PEPPER, PEPPER, forged

OURS = KeyFormat().generate("live")
FOREIGN = "sk-4vX9pQ2mL7tR0kZs8WnB3yHc6Jd1Fg5V"


def keys_of(environ: Mapping[str, str], repository: object | None = None, **options: object) -> APIKeys:
    """Keys with what an environment declares."""
    store = MemoryRepository() if repository is None else repository
    return APIKeys(repository=store, static_keys=from_environ(environ), **({"pepper": PEPPER} | options))  # type: ignore[arg-type]


def test_a_variable_declares_a_key() -> None:
    """Its name owns it; others, and empty ones, declare nothing."""
    declared = from_environ(
        {"API_KEY_Ci": "x" * 40, "API_KEY_NONE": "", "API_KEYS": "y", "MY_API_KEY_A": "z", "PATH": "/"}
    )

    assert [(each.request.owner, each.request.name, each.source) for each in declared] == [
        ("ci", "API_KEY_Ci", "API_KEY_Ci in the environment")
    ]


@pytest.mark.parametrize("name", sorted(NEVER_KEYS))
def test_settings_are_never_taken_for_keys(name: str) -> None:
    """`API_KEY_PEPPER` is somebody's pepper, however long and random it is."""
    assert from_environ({f"API_KEY_{name}": FOREIGN, f"API_KEY_{name.lower()}": FOREIGN}) == ()


def test_our_own_variables_are_never_taken_for_keys() -> None:
    """They have another prefix."""
    assert from_environ({"ASGI_APIKEY_PEPPER": PEPPER, "ASGI_APIKEY_AUDIT_KEY": LATER_PEPPER}) == ()


def test_a_servers_secret_under_another_name_is_refused() -> None:
    """Taken for a key, the pepper would let in whoever knows it, and be found in clients."""
    with pytest.raises(ConfigurationError, match="API_KEY_MAIN in the environment is a secret of the server") as caught:
        from_environ({"API_KEY_MAIN": PEPPER}, secrets=[PEPPER])
    assert PEPPER not in str(caught.value)


@pytest.mark.parametrize("name", ["API_KEY_", "API_KEY__A", "API_KEY_Ü", "API_KEY_A-B", "API_KEY_" + "A" * 101])
def test_a_name_that_cannot_be_an_owners_is_refused(name: str) -> None:
    """With the variable, without its value."""
    with pytest.raises(ConfigurationError, match="letters, digits and _") as caught:
        from_environ({name: FOREIGN})
    assert FOREIGN not in str(caught.value)


def test_a_dotenv_file_is_read_as_such_files_are_written() -> None:
    """Comments, quotes and `export`; other variables are passed over."""
    text = f"""\ufeff# keys
    export API_KEY_A={OURS.key}   # of ours
    API_KEY_B="{FOREIGN}"
    API_KEY_C = '{FOREIGN[::-1]}#'  # quoted
    API_KEY_PEPPER={PEPPER}
    OTHER=$(rm -rf /)
    API_KEY_D=
    """

    assert [(each.request.owner, each.key) for each in from_dotenv(text)] == [
        ("a", OURS.key),
        ("b", FOREIGN),
        ("c", f"{FOREIGN[::-1]}#"),
    ]


@pytest.mark.parametrize(
    "text", ["API_KEY_A", "=x", 'API_KEY_A="x', "API_KEY_A='x' y", "API_KEY_A=1\nAPI_KEY_A=2", "a b=c"]
)
def test_a_dotenv_line_that_cannot_be_read_is_named(text: str) -> None:
    """By its number; it is not repeated, as it may hold a secret."""
    with pytest.raises(ConfigurationError, match=r"^\.env, line \d: ") as caught:
        from_dotenv(text)
    assert "API_KEY_A=" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "short",
        "x" * 64,
        "0123456789" * 5,
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "correct-horse-battery-staple-and-some-more-words",
        "MySuperSecretApiKeyForTheProductionServer",
        "changeme-changeme-changeme-changeme",
        "12345678901234567890123456789012345",
        "0123456789abcdef0123456789abcdef",
        "deadbeefdeadbeefdeadbeef",
        FOREIGN[:31],
        FOREIGN + " x",
        FOREIGN + "é",
        FOREIGN * 8,
        "",
    ],
)
def test_a_key_that_can_be_guessed_is_refused(key: str) -> None:
    """Too short, a pattern, words, or what no header carries. The message does not repeat it."""
    with pytest.raises(InvalidRequest) as caught:
        check_guessable(key)
    assert not key or key not in str(caught.value)


@given(st.binary(min_size=64, max_size=64))
def test_random_keys_of_the_usual_spellings_are_taken(seed: bytes) -> None:
    """Hex of 128 bits, and base64 of 256, are never called guessable: what the words in them cost is little."""
    rng = random.Random(seed)
    spellings = (rng.randbytes(16).hex(), f"sk_live_{rng.randbytes(24).hex()}", urlsafe_b64encode(rng.randbytes(32)))
    for key in spellings:
        check_guessable(key if isinstance(key, str) else key.decode())


@given(st.text(st.sampled_from("abcdefghijklmnopqrstuvwxyzABC019-_"), max_size=60))
def test_the_estimate_is_never_above_what_the_alphabet_allows(key: str) -> None:
    """Nor below nothing."""
    assert 0 <= bits_of(key) <= len(key) * 6.6


@pytest.mark.anyio
async def test_declared_keys_are_let_in() -> None:
    """Ours and others', as soon as the object is open."""
    async with keys_of({"API_KEY_A": OURS.key, "API_KEY_B": FOREIGN}) as keys:
        ours, foreign = [await keys.authenticate(each.encode()) for each in (OURS.key, FOREIGN)]

        assert (ours.owner, ours.key_id, foreign.owner, foreign.key_id) == ("a", OURS.key_id, "b", key_id_of(FOREIGN))
        assert keys.authenticate_nowait(FOREIGN.encode()) == foreign


@pytest.mark.anyio
async def test_a_second_start_changes_nothing() -> None:
    """No row, no entry of the audit, no version."""
    repository = MemoryRepository()
    environ = {"API_KEY_A": OURS.key, "API_KEY_B": FOREIGN}
    for _ in range(3):
        async with keys_of(environ, repository):
            pass

    entries = await repository.audit.entries(0, limit=10)
    assert [(each.action, each.actor) for each in entries] == [("adopt", "static:the environment")] * 2


@pytest.mark.anyio
async def test_a_revoked_declared_key_stays_revoked() -> None:
    """A restart is not a way back."""
    repository = MemoryRepository()
    async with keys_of({"API_KEY_B": FOREIGN}, repository) as keys:
        await keys.revoke(key_id_of(FOREIGN))
    async with keys_of({"API_KEY_B": FOREIGN}, repository) as keys:
        with pytest.raises(RevokedKey):
            await keys.authenticate(FOREIGN.encode())


@pytest.mark.anyio
async def test_what_is_not_declared_is_malformed_and_never_reaches_the_store() -> None:
    """Only declared keys of other shapes have an id."""
    store = Watched(MemoryRepository())
    async with keys_of({"API_KEY_B": FOREIGN}, store) as keys:
        store.calls.clear()
        for garbage in (FOREIGN[:-1], FOREIGN + "x", FOREIGN[::-1], "", "x"):
            with pytest.raises(MalformedKey):
                await keys.authenticate(garbage.encode())

        assert store.calls["get"] == 0


@pytest.mark.anyio
async def test_a_key_with_a_declared_keys_id_is_not_it() -> None:
    """The secret is compared as for every other key."""
    async with keys_of({"API_KEY_A": OURS.key}) as keys:
        with pytest.raises(InvalidKey):
            await keys.authenticate(forged(keys.format, OURS.key_id).encode())


@pytest.mark.anyio
async def test_a_digest_that_cannot_be_compared_stops_the_start() -> None:
    """Under another pepper the same key would look like a stranger with its id."""
    repository = MemoryRepository()
    async with keys_of({"API_KEY_A": OURS.key}, repository):
        pass

    with pytest.raises(ConfigurationError, match="API_KEY_A in the environment: the store has another key") as caught:
        await keys_of({"API_KEY_A": OURS.key}, repository, pepper=LATER_PEPPER).open()
    assert OURS.key not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["password", OURS.key[:-1] + ("x" if OURS.key[-1] != "x" else "y")], ids=["guessable", "misspelt"]
)
def test_a_bad_declared_key_stops_the_construction(key: str) -> None:
    """A guessable one, or one of ours that was mistyped: what it looks like is not repeated."""
    if key.startswith("ak_live"):
        # Long and random: it is taken as a key from elsewhere, and then only ever matches itself.
        keys_of({"API_KEY_A": key})
        return
    with pytest.raises(ConfigurationError, match="API_KEY_A in the environment: ") as caught:
        keys_of({"API_KEY_A": key})
    assert key not in str(caught.value)


def test_one_key_under_two_names_is_refused() -> None:
    """Whose it is could not be told."""
    with pytest.raises(ConfigurationError, match="declared twice"):
        keys_of({"API_KEY_A": FOREIGN, "API_KEY_B": FOREIGN})


@pytest.mark.anyio
async def test_a_key_of_another_environment_is_stored_as_such() -> None:
    """Its text says so; where `live` is served it is not let in."""
    test = KeyFormat().generate("test")
    async with keys_of({"API_KEY_A": test.key}) as keys:
        [record] = (await keys.repository.find(KeyQuery(), now=0.0)).records

        assert record.environment == "test"
        with pytest.raises(InvalidKey):
            await keys.authenticate(test.key.encode())


@pytest.mark.anyio
async def test_a_store_that_is_away_does_not_stop_the_start() -> None:
    """Declared keys are stored by a later `open`; a missing file is not made for them."""
    keys = APIKeys("sqlite:////nonexistent/keys.db", pepper=PEPPER, static_keys=from_environ({"API_KEY_A": OURS.key}))
    await keys.open()
    await keys.close()
