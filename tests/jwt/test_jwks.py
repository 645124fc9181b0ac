"""The keys that an issuer publishes: when they are fetched, how long they are believed."""

from __future__ import annotations

import json
import logging
from functools import partial

import anyio
import pytest

from asgi_apikey.errors import ConfigurationError, InvalidToken, StoreUnavailable
from asgi_apikey.jwt import JWKS, Fault
from asgi_apikey.jwt.jwks import MAX_BYTES, MAX_KEYS, key_set
from tests.fakes import FakeClock, Gate, together, until
from tests.jwt.issuer import Signer, signer, token, verifier

pytestmark = pytest.mark.anyio

URL = "https://issuer.example/.well-known/jwks.json"
OLD, NEW, RSA = signer("ES256", "old"), signer("ES256", "new", 1), signer("RS256", "rsa")


class Published:
    """What stands at the address, a gate before it, and how often it was asked for."""

    def __init__(self, *signers: Signer) -> None:
        self.entries = [each.jwk() for each in signers]
        self.body: bytes | None = None
        self.failure: Exception | None = None
        self.gate = Gate()
        self.asked: list[str] = []

    def publish(self, *signers: Signer) -> None:
        """Have other keys."""
        self.entries = [each.jwk() for each in signers]

    async def fetch(self, url: str) -> bytes:
        """Answer, when the gate is open."""
        self.asked.append(url)
        await self.gate.passed()
        if self.failure is not None:
            raise self.failure
        return json.dumps({"keys": self.entries}).encode() if self.body is None else self.body


@pytest.fixture
def published() -> Published:
    """One key."""
    return Published(OLD)


@pytest.fixture
def jwks(published: Published, clock: FakeClock) -> JWKS:
    """With round numbers."""
    return JWKS(URL, published.fetch, ttl=100, outage_grace=1_000, cooldown=10, patience=5, clock=clock)


async def names(jwks: JWKS, kid: str | None, algorithm: str = "ES256") -> list[str | None]:
    """The names of what is found."""
    return [key.kid for key in await jwks.find(kid, algorithm)]


async def test_the_set_is_fetched_once_for_many_tokens(jwks: JWKS, published: Published) -> None:
    """By the first one."""
    assert [await names(jwks, "old") for _ in range(5)] == [["old"]] * 5
    assert published.asked == [URL]


async def test_a_thundering_herd_makes_one_request(jwks: JWKS, published: Published) -> None:
    """A hundred tokens at once, nothing held yet, known and unknown names."""
    published.gate.shut()
    results: list[object] = []

    async def crowd() -> None:
        calls = [partial(names, jwks, "old")] * 50 + [partial(names, jwks, "other")] * 50
        results.extend(await together(*calls))

    async with anyio.create_task_group() as group:
        group.start_soon(crowd)
        await until(lambda: published.gate.waiting)
        published.gate.open()

    assert results == [["old"]] * 50 + [[]] * 50
    assert len(published.asked) == 1


async def test_whoever_started_it_may_go_away(jwks: JWKS, published: Published) -> None:
    """The attempt goes on for those who wait."""
    published.gate.shut()
    found: list[list[str | None]] = []

    async def wait() -> None:
        found.append(await names(jwks, "old"))

    async with anyio.create_task_group() as outer:
        async with anyio.create_task_group() as first:
            first.start_soon(wait)
            await until(lambda: published.gate.waiting)
            outer.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            first.cancel_scope.cancel()
        published.gate.open()

    assert found == [["old"]]
    assert len(published.asked) == 1


async def test_a_new_key_is_found_when_its_first_token_comes(
    jwks: JWKS, published: Published, clock: FakeClock
) -> None:
    """An unknown name asks again, once the cooldown is over."""
    await names(jwks, "old")
    published.publish(OLD, NEW)
    before = await names(jwks, "new")
    clock.advance(10)

    assert before == []
    assert await names(jwks, "new") == ["new"]
    assert len(published.asked) == 2


async def test_made_up_names_cost_one_request_per_cooldown(jwks: JWKS, published: Published, clock: FakeClock) -> None:
    """However many there are; the known key is judged meanwhile."""
    for second in range(30):
        assert [await names(jwks, f"made-up-{second}-{number}") for number in range(20)] == [[]] * 20
        assert await names(jwks, "old") == ["old"]
        clock.advance(1)

    assert len(published.asked) == 3


async def test_an_algorithm_that_no_set_has_asks_nobody(jwks: JWKS, published: Published) -> None:
    """Nor does another one with a known name, beyond the first."""
    assert [await names(jwks, "x", name) for name in ("none", "HS256", "", "es256")] == [[]] * 4
    assert published.asked == []

    assert await names(jwks, "old", "RS256") == []
    assert len(published.asked) == 1


async def test_a_withdrawn_key_ends_with_the_set(jwks: JWKS, published: Published, clock: FakeClock) -> None:
    """At the end of `ttl`, without a background attempt before it."""
    await names(jwks, "old")
    published.publish(NEW)
    clock.advance(100)

    assert await names(jwks, "old") == []
    assert await names(jwks, "new") == ["new"]
    assert len(published.asked) == 2


async def test_past_half_its_time_the_set_is_renewed_in_the_background(
    jwks: JWKS, published: Published, clock: FakeClock
) -> None:
    """Nobody waits for it."""
    await names(jwks, "old")
    published.publish(OLD, NEW)
    published.gate.shut()
    clock.advance(50)
    while_asking = await names(jwks, "old")
    await until(lambda: published.gate.waiting)
    again = await names(jwks, "old")
    published.gate.open()
    await until(lambda: not published.gate.waiting)

    assert (while_asking, again) == (["old"], ["old"])
    assert await names(jwks, "new") == ["new"]
    assert len(published.asked) == 2


async def test_in_an_outage_the_last_good_set_is_used_and_nobody_waits(
    jwks: JWKS, published: Published, clock: FakeClock
) -> None:
    """Until `outage_grace` is over: then it cannot be decided."""
    await names(jwks, "old")
    published.failure = OSError("unreachable")
    clock.advance(100)
    first = await names(jwks, "old")
    published.gate.shut()
    clock.advance(999)
    second = await names(jwks, "old")
    await until(lambda: published.gate.waiting)
    published.gate.open()
    await until(lambda: not published.gate.waiting)
    clock.advance(1)

    assert (first, second) == (["old"], ["old"])
    with pytest.raises(StoreUnavailable):
        await names(jwks, "old")
    published.failure = None
    clock.advance(10)
    assert await names(jwks, "old") == ["old"]


async def test_without_a_set_nothing_can_be_decided(jwks: JWKS, published: Published, clock: FakeClock) -> None:
    """503 with the time to wait; attempts keep the cooldown."""
    published.failure = OSError("unreachable")
    results = [await together(partial(names, jwks, "old")) for _ in range(5)]
    clock.advance(4)
    with pytest.raises(StoreUnavailable) as late:
        await names(jwks, "old")

    assert all(isinstance(each[0], StoreUnavailable) for each in results)
    assert len(published.asked) == 1
    assert late.value.retry_after == 6


async def test_an_unknown_name_cannot_be_judged_while_attempts_fail(
    jwks: JWKS, published: Published, clock: FakeClock
) -> None:
    """It may be a new key: neither accepted nor rejected. Known ones are."""
    await names(jwks, "old")
    published.failure = OSError("unreachable")
    clock.advance(20)

    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await names(jwks, "new")
        assert await names(jwks, "old") == ["old"]
    assert len(published.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[1]}',
        b'{"keys":null}',
        b"<html>502</html>",
        b'{"keys":[],"keys":[]}',
        b'{"keys":[' + b" " * MAX_BYTES + b"]}",
        json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(),
        "text",
        None,
    ],
    ids=lambda body: repr(body)[:30],
)
async def test_an_answer_that_is_no_set_is_a_failed_attempt(body, published: Published, clock: FakeClock) -> None:
    """The last good set stays."""
    answers = [await published.fetch(URL)]
    jwks = JWKS(URL, partial(_next_of, answers), ttl=100, cooldown=10, clock=clock)
    await names(jwks, "old")
    answers.append(body)
    clock.advance(100)

    assert await names(jwks, "old") == ["old"]
    assert answers == []


async def _next_of(answers: list[bytes], url: str) -> bytes:
    return answers.pop(0)


async def test_an_empty_set_is_believed(jwks: JWKS, published: Published, clock: FakeClock) -> None:
    """An issuer that withdraws all its keys means it."""
    await names(jwks, "old")
    published.publish()
    clock.advance(100)

    assert await names(jwks, "old") == []


async def test_useless_entries_do_not_spoil_the_others() -> None:
    """Keys for encryption, of unknown kinds, secrets: left out. Every remaining one has one algorithm."""
    entries = [{}, {"kty": "oct", "k": "AAAA", "kid": "s"}, RSA.jwk(use="enc", kid="e"), RSA.jwk(), {"kty": "LMS"}]
    keys = key_set(json.dumps({"keys": entries}).encode())

    assert [key.kid for key in keys.meant(None, "RS256")] == ["rsa"]
    assert [keys.knows(name) for name in ("s", "e", "rsa")] == [False, False, True]
    assert keys.named("rsa", "PS256") == keys.named("rsa", "HS256") == ()


async def test_an_attempt_is_bounded(published: Published) -> None:
    """A server that never answers is a failed attempt; those who wait are told so."""
    published.gate.shut()
    jwks = JWKS(URL, published.fetch, patience=0.02)

    with pytest.raises(StoreUnavailable):
        await names(jwks, "old")
    published.gate.open()


async def test_a_late_answer_does_not_replace_a_newer_one(published: Published, clock: FakeClock) -> None:
    """An attempt that everybody has given up on is overtaken."""
    jwks = JWKS(URL, published.fetch, cooldown=10, patience=20, clock=clock)
    published.gate.shut()
    async with anyio.create_task_group() as group:
        group.start_soon(names, jwks, "old")
        await until(lambda: published.gate.waiting)
        release = published.gate.bypass()
        clock.advance(20)
        stale, published.entries = published.entries, [NEW.jwk()]
        assert await names(jwks, "new") == ["new"]
        published.entries = stale
        release()

    assert await names(jwks, "new") == ["new"]


async def test_the_log_names_the_address_and_the_class_alone(
    jwks: JWKS, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    """The text of a failure may quote what was received."""
    published.failure = ValueError("secret-in-the-answer")
    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailable):
        await names(jwks, "old")

    assert caplog.messages == [f"the keys at {URL} could not be read: ValueError"]


def test_a_loop_that_ends_leaves_nothing_waiting(published: Published, clock: FakeClock) -> None:
    """An attempt that died with its event loop is not waited for in the next one."""
    jwks = JWKS(URL, published.fetch, cooldown=10, clock=clock)
    published.gate.shut()

    async def give_up() -> None:
        with anyio.move_on_after(0.01):
            await names(jwks, "old")

    anyio.run(give_up)
    published.gate = Gate()

    assert anyio.run(names, jwks, "old") == ["old"]


async def test_a_remembered_token_ends_with_its_key(published: Published, clock: FakeClock) -> None:
    """As soon as the set is read without it, long before the token's own end."""
    jwks = JWKS(URL, published.fetch, ttl=100, clock=clock)
    tokens = verifier(keys=jwks, clock=clock)
    presented = token(OLD)
    await tokens.authenticate(presented)
    await tokens.authenticate(presented)
    published.publish(NEW)
    clock.advance(100)

    with pytest.raises(InvalidToken) as refusal:
        await tokens.authenticate(presented)
    assert refusal.value.fault == Fault.UNKNOWN_KEY
    assert (tokens.stats.accepted, tokens.stats.hits, tokens.stats.rejected) == (1, 1, 1)


async def test_a_key_that_takes_over_a_name_ends_the_old_tokens(published: Published, clock: FakeClock) -> None:
    """The name is a hint, the key decides."""
    jwks = JWKS(URL, published.fetch, ttl=100, clock=clock)
    tokens = verifier(keys=jwks, clock=clock)
    presented = token(OLD)
    await tokens.authenticate(presented)
    published.entries = [NEW.jwk(kid="old")]
    clock.advance(100)

    with pytest.raises(InvalidToken) as refusal:
        await tokens.authenticate(presented)
    assert refusal.value.fault == Fault.SIGNATURE
    assert (await tokens.authenticate(token(NEW, header={"kid": "old"}))).owner == "alice"


async def test_an_outage_beyond_the_grace_stops_remembered_tokens_too(published: Published, clock: FakeClock) -> None:
    """Whether their key is still trusted is what cannot be told."""
    jwks = JWKS(URL, published.fetch, ttl=100, outage_grace=0, clock=clock)
    tokens = verifier(keys=jwks, clock=clock)
    presented = token(OLD)
    await tokens.authenticate(presented)
    published.failure = OSError()
    clock.advance(100)

    with pytest.raises(StoreUnavailable):
        await tokens.authenticate(presented)
    assert tokens.stats.undecided == 1


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://issuer.example/jwks"},
        {"url": "http://127.0.0.1.evil.example/jwks"},
        {"url": "file:///etc/passwd"},
        {"url": "https://"},
        {"url": "https://[::1"},
        {"url": ""},
        {"url": None},
        {"url": "https://user:password@issuer.example/jwks"},
        {"url": "https://issuer.example/jwks?key=1"},
        {"url": "https://issuer.example/jwks#x"},
        {"fetch": None},
        {"ttl": 0},
        {"ttl": float("nan")},
        {"ttl": float("inf")},
        {"cooldown": 0},
        {"patience": -1},
        {"outage_grace": -1},
        {"outage_grace": float("inf")},
    ],
    ids=str,
)
def test_unsafe_wiring_is_refused(options: dict[str, object], published: Published) -> None:
    """At construction."""
    given = {"url": URL, "fetch": published.fetch} | options

    with pytest.raises(ConfigurationError):
        JWKS(given.pop("url"), given.pop("fetch"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["http://127.0.0.1:8001/jwks", "http://localhost/jwks", "http://[::1]:8001/jwks"])
def test_a_server_on_this_machine_needs_no_tls(url: str, published: Published) -> None:
    """For development, and for sidecars."""
    JWKS(url, published.fetch)
