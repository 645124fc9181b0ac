"""A token in, a principal out."""

from __future__ import annotations

import logging

import pytest

from asgi_apikey.errors import ConfigurationError, InvalidKey, InvalidToken, StoreUnavailable
from asgi_apikey.jwt import Fault, JWTVerifier, TrustedKey
from asgi_apikey.jwt.compact import parse
from asgi_apikey.models import Principal
from tests.fakes import NOON, FakeClock
from tests.jwt.issuer import AUDIENCE, ISSUER, SECRET, signer, token, verifier

pytestmark = pytest.mark.anyio

HS = signer("HS256", "hs")


async def fault_of(tokens: JWTVerifier, presented: bytes) -> str | None:
    """Why it is refused; None if it is not."""
    try:
        await tokens.authenticate(presented)
    except InvalidToken as error:
        return error.fault
    return None


async def test_a_token_becomes_a_principal(clock: FakeClock) -> None:
    """Owner is the subject; the id is never that of a key; the end is the token's."""
    principal = await verifier(HS, clock=clock).authenticate(token(HS))

    assert principal == Principal(
        key_id="jwt:alice",
        owner="alice",
        scopes=frozenset({"orders:read", "orders:write"}),
        expires_at=NOON + 600,
        method="jwt",
    )


@pytest.mark.parametrize(
    ("claims", "options", "scopes"),
    [
        ({"scope": None}, {}, set()),
        ({"scope": ""}, {}, set()),
        ({"scope": "a  b "}, {}, {"a", "b"}),
        ({"scope": ["a", "b"]}, {}, {"a", "b"}),
        ({"scope": None, "scp": "a b"}, {}, {"a", "b"}),
        ({"scope": "a", "scp": ["b"]}, {}, {"a", "b"}),
        ({"scope": "a", "scp": ["b"]}, {"scope_claims": ["scp"]}, {"b"}),
        ({"scope": "a", "permissions": ["b"]}, {"scope_claims": ["permissions"]}, {"b"}),
        ({"scope": "a"}, {"scope_claims": []}, set()),
        ({"realm": {"roles": ["a"]}}, {"scope_claims": [("realm", "roles")]}, {"a"}),
        ({"realm": "a"}, {"scope_claims": [("realm", "roles")]}, set()),
        ({"realm.roles": ["a"]}, {"scope_claims": [("realm", "roles")]}, set()),
        ({"scope": "* orders:* a*b orders.*"}, {}, set()),
        ({"scope": ["a b", "", "é", 'q"', "\\", "x" * 129, "ok"]}, {}, {"ok"}),
        ({"scope": "admin x"}, {"scope_map": {"admin": ["orders:*", "keys:read"]}}, {"orders:*", "keys:read"}),
        ({"scope": "*"}, {"scope_map": {"*": ["a"]}}, {"a"}),
        ({"scope": "a"}, {"scope_map": {}}, set()),
    ],
    ids=lambda each: str(sorted(each) if isinstance(each, set | frozenset) else each),
)
async def test_scopes_come_from_claims(claims, options, scopes: set[str]) -> None:
    """What is absent, not a name, or a wildcard that nobody here has written grants nothing."""
    principal = await verifier(HS, **options).authenticate(token(HS, **claims))

    assert principal.scopes == scopes


@pytest.mark.parametrize(
    ("claims", "tenant"),
    [({"org": "acme"}, "acme"), ({"org": {"id": "acme"}}, None), ({}, None), ({"org": ""}, None), ({"org": 7}, None)],
    ids=str,
)
async def test_a_tenant_that_is_asked_for_must_be_there(claims, tenant: str | None) -> None:
    """Without it the token would fall into the default tenant."""
    tokens = verifier(HS, tenant_claim="org")
    presented = token(HS, **claims)

    if tenant is None:
        assert await fault_of(tokens, presented) == Fault.CLAIM
    else:
        assert (await tokens.authenticate(presented)).tenant == tenant


async def test_metadata_is_what_was_asked_for() -> None:
    """A read-only copy; the rest of the claims is nobody's business."""
    tokens = verifier(HS, metadata_claims=["email", "groups", "absent"], environment="test")
    principal = await tokens.authenticate(token(HS, email="a@example", groups=[{"id": 1}], secret="x"))

    assert principal.environment == "test"
    assert dict(principal.metadata) == {"email": "a@example", "groups": ({"id": 1},)}
    with pytest.raises(TypeError):
        principal.metadata["email"] = "b"  # type: ignore[index]


async def test_metadata_too_deep_to_keep_is_refused() -> None:
    """As that of keys would be."""
    deep: object = 1
    for _ in range(200):
        deep = [deep]

    assert await fault_of(verifier(HS, metadata_claims=["deep"]), token(HS, deep=deep)) == Fault.CLAIM


@pytest.mark.parametrize("leeway", [0, 30, 60])
async def test_a_token_is_good_from_its_beginning_to_its_end(leeway: int, clock: FakeClock) -> None:
    """To the second, with the leeway on both sides, remembered or not."""
    presented = token(HS, nbf=NOON + 100, iat=NOON + 100, exp=NOON + 200)
    tokens = verifier(HS, clock=clock, leeway=leeway)
    outcomes = {}
    for second in (99 - leeway, 100 - leeway, 100, 199, 199 + leeway, 200 + leeway):
        clock.set_wall(NOON + second)
        outcomes[second] = await fault_of(tokens, presented)

    assert outcomes.pop(99 - leeway) == "not_yet_valid"
    assert outcomes.pop(200 + leeway) == "expired"
    assert set(outcomes.values()) == {None}


async def test_a_verified_token_is_remembered_until_its_end(clock: FakeClock) -> None:
    """On both clocks: set back, the wall clock prolongs nothing."""
    tokens = verifier(HS, clock=clock, leeway=0)
    presented = token(HS, exp=NOON + 100)
    await tokens.authenticate(presented)
    clock.advance(99)
    await tokens.authenticate(presented)
    hits = tokens.stats.hits
    clock.advance(1)
    clock.set_wall(NOON)
    # The wall clock says that it is good again: it is verified again, not taken from memory.
    await tokens.authenticate(presented)
    clock.set_wall(NOON + 100)

    assert (hits, tokens.stats.hits, tokens.stats.accepted) == (1, 1, 2)
    assert await fault_of(tokens, presented) == "expired"


async def test_the_wall_clock_set_forward_ends_a_remembered_token(clock: FakeClock) -> None:
    """At once."""
    tokens = verifier(HS, clock=clock)
    await tokens.authenticate(token(HS))
    clock.set_wall(NOON + 10_000)

    assert await fault_of(tokens, token(HS)) == "expired"


async def test_memory_is_bounded_and_holds_no_token(clock: FakeClock) -> None:
    """The least recent are verified again; of a token only a keyed digest is kept."""
    tokens = verifier(HS, clock=clock, cache_size=2)
    presented = [token(HS, jti=str(number)) for number in range(3)]
    for each in (*presented, presented[0], presented[0]):
        await tokens.authenticate(each)

    held = tokens._verified
    assert held is not None
    assert len(held) == 2
    assert {len(fingerprint) for fingerprint in held} == {32}
    assert (tokens.stats.accepted, tokens.stats.hits) == (4, 1)


async def test_a_rejected_token_is_not_remembered(clock: FakeClock) -> None:
    """A flood of bad ones pushes out no good one."""
    tokens = verifier(HS, clock=clock, cache_size=1)
    await tokens.authenticate(token(HS))
    for number in range(20):
        await fault_of(tokens, token(signer("HS256", "hs", 9), jti=str(number)))
    await tokens.authenticate(token(HS))

    assert (tokens.stats.accepted, tokens.stats.hits, tokens.stats.rejected) == (1, 1, 20)


async def test_without_memory_each_token_is_verified(clock: FakeClock) -> None:
    """`cache_size=0`."""
    tokens = verifier(HS, clock=clock, cache_size=0)
    for _ in range(2):
        await tokens.authenticate(token(HS))

    assert (tokens.stats.accepted, tokens.stats.hits) == (2, 0)


async def test_the_payload_is_not_read_before_the_signature_is_verified() -> None:
    """Whatever a stranger writes into it, the reason is the signature."""
    stranger = signer("HS256", "hs", 9)

    assert await fault_of(verifier(HS), token(stranger, iss="other", exp=0)) == "signature"


async def test_types_are_compared_as_media_types() -> None:
    """In any case, with or without `application/`; None stands for no type."""
    tokens = verifier(HS, types=["application/AT+JWT", None])
    typs = ("at+jwt", "application/at+jwt", "At+Jwt", None, "JWT")

    assert [await fault_of(tokens, token(HS, header={"typ": typ})) for typ in typs] == [None] * 4 + ["type"]


@pytest.mark.parametrize(
    ("wanted", "claim", "fault"),
    [
        ("access", "access", None),
        ("access", "id", "claim"),
        ("access", None, "claim"),
        ("access", ["access"], "claim"),
        (True, True, None),
        (True, 1, "claim"),
        (1, True, "claim"),
        (1, 1.0, "claim"),
    ],
)
async def test_claims_can_be_asked_for_exactly(wanted, claim, fault: str | None) -> None:
    """By value and type."""
    assert await fault_of(verifier(HS, exactly={"use": wanted}), token(HS, use=claim)) == fault


async def test_one_of_several_audiences_is_enough() -> None:
    """Of ours, and of the token's."""
    tokens = verifier(HS, audience=["one", "two"])

    assert await fault_of(tokens, token(HS, aud=["three", "two"])) is None
    assert await fault_of(tokens, token(HS, aud=["three"])) == "audience"
    assert await fault_of(tokens, token(HS)) == "audience"


async def test_a_source_of_keys_cannot_lend_an_algorithm() -> None:
    """A key that a source returns for another algorithm than its own verifies nothing."""

    class Careless:
        async def find(self, kid: str | None, algorithm: str) -> list[TrustedKey]:
            return [HS.trusted]

    tokens = verifier(keys=Careless())

    assert await fault_of(tokens, token(HS)) is None
    assert await fault_of(tokens, token(HS, header={"alg": "none"})) == "unknown_key"
    assert await fault_of(tokens, token(HS, header={"alg": "HS512"})) == "unknown_key"


async def test_a_source_that_cannot_tell_is_not_a_no() -> None:
    """Undecided goes through as it is, and is counted."""

    class Down:
        async def find(self, kid: str | None, algorithm: str) -> list[TrustedKey]:
            raise StoreUnavailable

    tokens = verifier(keys=Down())

    with pytest.raises(StoreUnavailable):
        await tokens.authenticate(token(HS))
    assert (tokens.stats.undecided, tokens.stats.rejected) == (1, 0)


async def test_nothing_of_a_token_stands_in_errors_logs_or_reprs(caplog: pytest.LogCaptureFixture) -> None:
    """Not the token, nor its parts."""
    tokens = verifier(HS)
    presented = token(signer("HS256", "hs", 9), sub="canary-subject")
    with caplog.at_level(logging.DEBUG), pytest.raises(InvalidToken) as refusal:
        await tokens.authenticate(presented)

    shown = f"{refusal.value!r} {refusal.value} {caplog.text} {tokens!r} {parse(presented)!r} {tokens._keys!r}"
    assert not any(part.decode() in shown for part in presented.split(b"."))
    assert "canary" not in shown
    assert isinstance(refusal.value, InvalidKey)
    assert (refusal.value.code, refusal.value.reason, refusal.value.key_id) == ("invalid_key", "invalid_token", None)


@pytest.mark.parametrize(
    "options",
    [
        {"keys": []},
        {"keys": "secret"},
        {"keys": b"secret"},
        {"keys": None},
        {"keys": SECRET},
        {"keys": [SECRET]},
        {"keys": 7},
        {"audience": ""},
        {"audience": " "},
        {"audience": []},
        {"audience": None},
        {"audience": ["a", ""]},
        {"audience": ["a", None]},
        {"issuer": ""},
        {"issuer": None},
        {"issuer": ["a"]},
        {"leeway": -1},
        {"leeway": 61},
        {"leeway": float("nan")},
        {"leeway": float("inf")},
        {"types": []},
        {"types": "JWT"},
        {"types": [7]},
        {"types": [""]},
        {"exactly": ["token_use"]},
        {"exactly": {"a": ["b"]}},
        {"exactly": {"a": None}},
        {"scope_claims": "scope"},
        {"scope_claims": [7]},
        {"scope_claims": [()]},
        {"scope_claims": [("a", 7)]},
        {"scope_map": {"a": "orders:read"}},
        {"scope_map": {"a": ["two words"]}},
        {"scope_map": ["a"]},
        {"tenant_claim": ""},
        {"tenant_claim": ()},
        {"metadata_claims": "email"},
        {"metadata_claims": [7]},
        {"environment": "Live!"},
        {"max_size": 0},
        {"max_size": 1_000_000},
        {"cache_size": -1},
    ],
    ids=str,
)
def test_unsafe_wiring_is_refused(options: dict[str, object]) -> None:
    """At construction, and no message repeats a secret."""
    given = {"keys": HS.trusted, "audience": AUDIENCE, "issuer": ISSUER} | options

    with pytest.raises(ConfigurationError) as refusal:
        JWTVerifier(given.pop("keys"), **given)  # type: ignore[arg-type]
    assert SECRET.decode() not in str(refusal.value)


def test_one_key_several_or_a_source_will_do() -> None:
    """All three forms."""
    for keys in (HS.trusted, [HS.trusted], (HS.trusted,), verifier(HS)._keys):
        JWTVerifier(keys, audience=AUDIENCE, issuer=ISSUER)
