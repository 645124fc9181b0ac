"""Keys: made, read, rejected, found and masked."""

from __future__ import annotations

import random
import re
import string
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asgi_apikey.errors import ConfigurationError, InvalidRequest, MalformedKey
from asgi_apikey.keyformat import MAX_LENGTH, KeyFormat, ParsedKey

RING_ONE = "golden ring, key number one"
RING_TWO = "golden ring, key number two"

# Issued once and never again: whatever changes, these are read for ever.
GOLDEN = {
    "ak_live_IBahHg8Jy2KC_1qiEa3qMPOEqBMgDVRtRIQKZ8YBFJ2hkN1X6JvK": ParsedKey("IBahHg8Jy2KC", "live", "1"),
    "acme_pay_test_S5779WgjYS00_1ZGeve7sSRlinXFhbPH6u5PXLFOHzPW2M2Hw8qs": ParsedKey("S5779WgjYS00", "test", "1"),
    "ak_live_bnYy92mjEmdv_2IPHDo750NmSHA5uIUNZBHdz1rca5ORmgDFxavVxF": ParsedKey("bnYy92mjEmdv", "live", "2"),
    "acme_pay_test_bj7tNoe37kMx_2pLYqSZA79XycOWQRr1qrJabalRfubXHhDl3UYGLW": ParsedKey("bj7tNoe37kMx", "test", "2"),
}
V1, V1_ACME, V2, V2_ACME = GOLDEN

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
environments = st.from_regex(r"[a-z][a-z0-9]{0,15}", fullmatch=True)
prefixes = st.from_regex(r"[a-z][a-z0-9_]{0,18}[a-z0-9]", fullmatch=True)
rings = st.lists(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 8), max_size=1)


def format_of(key: str, *, checksum_keys: tuple[str, ...] = (RING_ONE, RING_TWO)) -> KeyFormat:
    """The format that a golden key belongs to."""
    return KeyFormat("acme_pay" if key.startswith("acme") else "ak", checksum_keys=checksum_keys)


def decoded(digits: str) -> int:
    """Base62, written down once more so that the package's own is not its judge."""
    number = 0
    for digit in digits:
        number = number * 62 + BASE62.index(digit)
    return number


class TestGolden:
    """The format, pinned."""

    @pytest.mark.parametrize("key", GOLDEN)
    def test_golden_keys_are_read_for_ever(self, key: str) -> None:
        """Keys of every released version are read, whatever their prefix."""
        assert format_of(key).parse(key.encode()) == GOLDEN[key]

    @pytest.mark.parametrize("key", GOLDEN)
    def test_golden_keys_are_made_again(self, key: str) -> None:
        """The same random numbers give the same key: rendering is pinned too."""
        version = GOLDEN[key].version
        secret = key[-38:-6]
        drawn = iter((decoded(GOLDEN[key].key_id), decoded(secret)))
        ring = {V1: (), V1_ACME: (), V2: (RING_ONE,), V2_ACME: (RING_ONE, RING_TWO)}[key]
        prefix = "acme_pay" if key.startswith("acme") else "ak"

        made = KeyFormat(prefix, checksum_keys=ring, randbelow=lambda _: next(drawn)).generate(GOLDEN[key].environment)

        assert made.key == key
        assert key.rpartition("_")[2][0] == version

    @pytest.mark.parametrize("key", [V1, V1_ACME])
    def test_version_1_ends_in_a_crc_32(self, key: str) -> None:
        """The last six characters are the CRC-32 of all others, in base62, most significant first."""
        assert decoded(key[-6:]) == zlib.crc32(key[:-6].encode())

    def test_version_1_is_read_beside_checksum_keys(self) -> None:
        """Configuring checksum keys locks nobody out."""
        assert KeyFormat(checksum_keys=[RING_ONE]).parse(V1.encode()).version == "1"

    def test_an_old_checksum_key_still_checks(self) -> None:
        """A key under an older key of the ring is compared with that one."""
        older = KeyFormat(checksum_keys=[RING_ONE, RING_TWO])
        last = "0" if V2[-1] != "0" else "1"

        assert older.parse(V2.encode()) == GOLDEN[V2]
        with pytest.raises(MalformedKey):
            older.parse((V2[:-1] + last).encode())


class TestGenerate:
    """New keys."""

    @given(prefixes, environments, rings)
    def test_a_new_key_is_read_back(self, prefix: str, environment: str, ring: list[bytes]) -> None:
        """What `generate` makes, `parse` reads, for every prefix, environment and ring."""
        key_format = KeyFormat(prefix, checksum_keys=ring)

        new = key_format.generate(environment)

        parsed = key_format.parse(new.key.encode())
        assert parsed == ParsedKey(new.key_id, environment, "2" if ring else "1")
        assert new.key.endswith(new.hint)
        assert len(new.hint) == 4
        assert len(new.key) < MAX_LENGTH
        assert re.fullmatch(key_format.regex, new.key)

    def test_two_keys_differ_in_id_and_secret(self) -> None:
        """Every key draws its own id and its own secret."""
        one, other = (KeyFormat().generate("live") for _ in range(2))

        assert one.key_id != other.key_id
        assert one.key[-38:-6] != other.key[-38:-6]

    def test_id_and_secret_use_the_whole_range(self) -> None:
        """12 base62 characters of id and 32 of secret (190.5 bits) are drawn, the smallest and largest included."""
        drawn = []

        def largest(bound: int) -> int:
            drawn.append(bound)
            return bound - 1

        high = KeyFormat(randbelow=largest).generate("live").key
        low = KeyFormat(randbelow=lambda _: 0).generate("live").key

        assert drawn == [62**12, 62**32]
        assert high.startswith("ak_live_zzzzzzzzzzzz_1" + "z" * 32)
        assert low.startswith("ak_live_000000000000_1" + "0" * 32)

    @pytest.mark.parametrize("environment", ["", "Live", "1live", "li_ve", "live\n", "a" * 17, "lïve", "li-ve"])
    def test_an_odd_environment_is_refused(self, environment: str) -> None:
        """An environment that `parse` would not read back is never written."""
        with pytest.raises(InvalidRequest):
            KeyFormat().generate(environment)

    def test_the_repr_of_a_new_key_holds_no_secret(self) -> None:
        """A new key can stand in a log by accident: only its public part shows."""
        new = KeyFormat().generate("live")

        assert new.key not in repr(new)
        assert new.key[-38:-6] not in repr(new)


class TestParse:
    """What a flood meets first."""

    @pytest.mark.parametrize("key", GOLDEN)
    def test_no_single_byte_can_change(self, key: str) -> None:
        """Every substitution, insertion and deletion of one byte is rejected, wherever it is."""
        key_format = format_of(key)
        original = key.encode()
        ring_id = range(len(key) - 40, len(key) - 38) if GOLDEN[key].version == "2" else range(0)
        mutants = {original[:at] + original[at + 1 :] for at in range(len(original))}
        for byte in range(256):
            one = bytes((byte,))
            mutants |= {original[:at] + one + original[at + 1 :] for at in range(len(original)) if at not in ring_id}
            mutants |= {original[:at] + one + original[at:] for at in range(len(original) + 1)}

        for mutant in mutants - {original}:
            with pytest.raises(MalformedKey):
                key_format.parse(mutant)

    def test_neighbours_cannot_change_places(self) -> None:
        """Swapping two neighbouring characters, the commonest typing error, is rejected."""
        swapped = {V1[:at] + V1[at + 1] + V1[at] + V1[at + 2 :] for at in range(len(V1) - 1)} - {V1}

        for mutant in swapped:
            with pytest.raises(MalformedKey):
                KeyFormat().parse(mutant.encode())

    def test_many_random_mutants_are_rejected(self) -> None:
        """Of 200,000 keys with up to four changes, none passes, but for those that name an unknown checksum key."""
        rng = random.Random(7)
        formats = [(key.encode(), format_of(key)) for key in GOLDEN]
        accepted = []

        for _ in range(200_000):
            original, key_format = rng.choice(formats)
            mutant = mutated(original, rng)
            try:
                parsed = key_format.parse(mutant)
            except MalformedKey:
                continue
            unchecked = parsed.version == "2" and mutant[-40:-38] not in {
                V2[-40:-38].encode(),
                V2_ACME[-40:-38].encode(),
            }
            if mutant != original and not unchecked:
                accepted.append(mutant)

        assert accepted == []

    @given(st.binary(max_size=400))
    @example(b"")
    @example(b"_" * 256)
    @example(b"ak_live_" + b"0" * 300)
    @example("ak_live_IBahHg8Jy2KC_1qiEa3qMPOEqBMgDVRtRIQKZ8YBFJ2hkN1X6Jv\N{FULLWIDTH DIGIT ONE}".encode())
    def test_any_bytes_are_read_or_rejected(self, presented: bytes) -> None:
        """Nothing but MalformedKey is ever raised, and nothing made up is let through."""
        with pytest.raises(MalformedKey):
            KeyFormat().parse(presented)

    @given(st.binary(max_size=4), st.binary(max_size=60), environments)
    def test_nearly_right_bytes_are_read_or_rejected(self, left: bytes, tail: bytes, environment: str) -> None:
        """The same close to the real shape, where each of the checks is reached."""
        presented = b"ak_" + environment.encode() + b"_" + b"A" * 12 + left + b"_1" + tail

        with pytest.raises(MalformedKey):
            KeyFormat().parse(presented)

    def test_a_right_checksum_alone_is_not_enough(self) -> None:
        """Other alphabets are rejected even under a checksum computed for them."""
        bodies = [
            "ak_live_IBahHg8Jy2K-_1" + "A" * 32,
            "ak_live_IBahHg8Jy2KC_1" + "A" * 31 + "é",
            "ak_Live_IBahHg8Jy2KC_1" + "A" * 32,
            "ak__IBahHg8Jy2KC_1" + "A" * 32,
            "ak_1ive_IBahHg8Jy2KC_1" + "A" * 32,
            "ak_live_IBahHg8Jy2K_1" + "A" * 32,
            "ak_live_IBahHg8Jy2KC_3" + "A" * 32,
            "ak_live_IBahHg8Jy2KC_1" + "A" * 31,
            "ka_live_IBahHg8Jy2KC_1" + "A" * 32,
            "x_ak_live_IBahHg8Jy2KC_1" + "A" * 32,
            "ak_" + "e" * 17 + "_IBahHg8Jy2KC_1" + "A" * 32,
        ]
        for body in bodies:
            with pytest.raises(MalformedKey):
                KeyFormat().parse(with_crc(body))

    def test_what_is_too_long_is_not_looked_at(self) -> None:
        """Length comes first: a megabyte costs no more than a byte."""

        class Unread(bytes):
            def rsplit(self, *_: object) -> list[bytes]:
                raise AssertionError("looked at")

        with pytest.raises(MalformedKey):
            KeyFormat().parse(Unread(b"_" * 257))

    def test_a_prefix_is_read_from_the_right(self) -> None:
        """One format's prefix may be the start of another's; neither takes the other's keys."""
        short, long = KeyFormat("acme"), KeyFormat("acme_live")
        key = long.generate("test").key.encode()

        assert long.parse(key).environment == "test"
        with pytest.raises(MalformedKey):
            short.parse(key)

    def test_the_error_names_the_public_id_and_nothing_else(self) -> None:
        """With a wrong checksum the key id is known, for the log; the key is not in the error."""
        wrong = V1[:-1] + ("0" if V1[-1] != "0" else "1")

        with pytest.raises(MalformedKey) as raised:
            KeyFormat().parse(wrong.encode())

        assert raised.value.key_id == GOLDEN[V1].key_id
        assert wrong[-38:] not in f"{raised.value!r} {raised.value}"

    def test_an_unknown_checksum_key_rejects_nobody(self) -> None:
        """A key under a checksum key that is gone is read, unchecked, and told once for each such key."""
        told: list[str] = []
        key_format = KeyFormat(checksum_keys=[RING_TWO], on_unknown_ring=told.append)
        unchecked = V2[:-1] + ("0" if V2[-1] != "0" else "1")

        parsed = [key_format.parse(each.encode()) for each in (V2, unchecked, V2)]

        assert parsed == [GOLDEN[V2]] * 3
        assert told == [V2[-40:-38]]
        assert KeyFormat().parse(V2.encode()) == GOLDEN[V2]

    def test_a_stranger_cannot_fill_the_log(self) -> None:
        """However many checksum keys strangers make up, few are told."""
        told: list[str] = []
        key_format = KeyFormat(checksum_keys=[RING_ONE], on_unknown_ring=told.append)

        for ring_id in (left + right for left in BASE62 for right in BASE62):
            if ring_id != V2[-40:-38]:
                key_format.parse(f"ak_live_IBahHg8Jy2KC_2{ring_id}{'A' * 38}".encode())

        assert len(told) == 8


class TestConfiguration:
    """Misuse ends while wiring, with the fix in the message."""

    @pytest.mark.parametrize("prefix", ["", "a", "A", "1k", "ak_", "_ak", "a-k", "ak ", "ak\n", "a" * 21, "äk", "ak.*"])
    def test_an_odd_prefix_is_refused(self, prefix: str) -> None:
        """A prefix that a scanner or a double click would trip over does not come into being."""
        with pytest.raises(ConfigurationError, match="such as 'acme'"):
            KeyFormat(prefix)

    @pytest.mark.parametrize(
        "ring",
        [
            ["short"],
            [b"fifteen bytes.."],
            ["a" * 64],
            [RING_ONE, RING_ONE],
            [RING_ONE, RING_ONE.encode()],
            RING_ONE,
            RING_ONE.encode(),
            [None],
            [12345678901234567890],
        ],
    )
    def test_a_bad_ring_is_refused(self, ring: list[str]) -> None:
        """Short, repeated and misplaced checksum keys are refused, and not repeated in the message."""
        with pytest.raises(ConfigurationError) as raised:
            KeyFormat(checksum_keys=ring)

        assert RING_ONE not in str(raised.value)

    def test_two_keys_with_one_ring_id_are_refused(self) -> None:
        """Ring ids have two characters: a chance collision is found while wiring, not while keys are rejected."""
        ids: dict[str, str] = {}
        for number in range(4_000):
            key = f"{number} is a colliding checksum key"
            ring_id = KeyFormat(checksum_keys=[key], randbelow=lambda _: 0).generate("live").key[-40:-38]
            if ring_id in ids:
                break
            ids[ring_id] = key

        with pytest.raises(ConfigurationError, match="ring id"):
            KeyFormat(checksum_keys=[ids[ring_id], key])

    def test_the_repr_holds_no_checksum_key(self) -> None:
        """A format in a log gives nothing away."""
        key_format = KeyFormat(checksum_keys=[RING_ONE])

        assert RING_ONE not in f"{key_format!r} {vars(key_format)!r}"


class TestFindAndMask:
    """Keys in any text."""

    @pytest.mark.parametrize(
        "text",
        [
            "{}",
            "key={}",
            "https://example.test/a?api_key={}&b=1",
            "https://example.test/a%3Fapi_key%3D{}%26b%3D1",
            "%22{}%22",
            '{{"key": "{}"}}',
            r"line\n{}\nline",
            r"\u0022{}\u0022",
            "\x1b[32m{}\x1b[0m",
            "'{}',",
            "<{}>",
            "({}).",
            "Bearer {}\r\n",
            "x_{}_x",
            "schlüssel{}ü",
            "flak{}",
            "ak_{}",
            "ak_live_{}",
        ],
    )
    @pytest.mark.parametrize("key", [V1, V2])
    def test_a_key_is_found_wherever_it_stands(self, text: str, key: str) -> None:
        """Quotes, escapes, colours and word-like neighbours on the left do not hide a key."""
        key_format = KeyFormat(checksum_keys=[RING_ONE])
        full = text.format(key)

        (found,) = key_format.find(full)

        assert full[found.start : found.end] == key
        assert (found.key_id, found.environment, found.version) == (
            GOLDEN[key].key_id,
            GOLDEN[key].environment,
            GOLDEN[key].version,
        )
        assert found.checked
        assert key_format.mask(full) == text.format(f"ak_live_{found.key_id}_…{key[-4:]}")

    @pytest.mark.parametrize("right", ["A", "0", "z9_", V1])
    def test_the_start_of_a_longer_run_is_not_a_key(self, right: str) -> None:
        """Letters or digits on the right belong to the run: a part of it is no key."""
        assert [found.start for found in KeyFormat().find(V1 + right)] == ([len(V1)] if right == V1 else [])

    def test_a_wrong_checksum_is_not_found(self) -> None:
        """What looks like a key and is none stays as it is."""
        wrong = V1[:-1] + ("0" if V1[-1] != "0" else "1")

        assert list(KeyFormat().find(wrong)) == []
        assert KeyFormat().mask(wrong) == wrong

    def test_a_key_under_an_unknown_checksum_key_is_masked(self) -> None:
        """When in doubt, a key is a key."""
        (found,) = KeyFormat().find(V2)

        assert not found.checked
        assert V2[-38:-6] not in KeyFormat().mask(V2)

    def test_a_lookalike_cannot_hide_the_key_after_it(self) -> None:
        """A lookalike whose last letters are the next key's prefix does not swallow that key."""
        lookalike = "ak_x_000000000000_2" + "A" * 38 + "ak"
        text = lookalike + V1.removeprefix("ak")

        masked = KeyFormat().mask(text)

        assert V1[-38:-6] not in masked
        assert masked.endswith(f"_…{V1[-4:]}")

    def test_an_adjacent_prefix_is_another_format(self) -> None:
        """A key of `my_ak` is not a key of `ak`: the checksum covers the prefix."""
        assert list(KeyFormat("ak").find(KeyFormat("my_ak").generate("live").key)) == []

    def test_finding_tells_nobody(self) -> None:
        """Only presented keys do; a text may be about anything."""
        told: list[str] = []
        list(KeyFormat(on_unknown_ring=told.append).find(V2))

        assert told == []

    @given(st.lists(st.tuples(st.text(max_size=30), st.booleans()), max_size=8), st.text(max_size=30))
    def test_masking_takes_the_keys_and_nothing_else(self, pieces: list[tuple[str, bool]], end: str) -> None:
        """In any text, every key is cut down, the rest is untouched, and masking again changes nothing."""
        key_format = KeyFormat()
        text = masked = ""
        for left, prefer_first in pieces:
            key = V1 if prefer_first else key_format.generate("live").key
            text += f"{left}|{key}|"
            masked += f"{left}|{key[:20]}_…{key[-4:]}|"

        assert key_format.mask(text + end) == masked + end
        assert key_format.mask(masked + end) == masked + end
        assert len(list(key_format.find(text + end))) == len(pieces)

    @given(st.text())
    def test_text_without_keys_stays(self, text: str) -> None:
        """Masking is the identity on texts that hold no key."""
        assert KeyFormat().mask(text) == text

    def test_the_pattern_speaks_the_common_dialect(self) -> None:
        """Scanners built on RE2 know no lookarounds and no backreferences: the pattern has none."""
        pattern = KeyFormat().regex

        assert "(?=" not in pattern
        assert "(?<" not in pattern
        assert "(?!" not in pattern
        assert "\\" not in pattern
        assert re.search(pattern, f"key={V1};")
        assert re.fullmatch(pattern, V2)


def with_crc(body: str) -> bytes:
    """A body with a right version 1 checksum."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return (body + digits).encode()


def mutated(original: bytes, rng: random.Random) -> bytes:
    """One to four random substitutions, insertions and deletions, mostly within the alphabet."""
    mutant = bytearray(original)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutant))
        byte = ord(rng.choice(BASE62 + "_")) if rng.random() < 0.8 else rng.randrange(256)
        kind = rng.randrange(3)
        if kind == 0:
            mutant[at] = byte
        elif kind == 1:
            mutant.insert(at, byte)
        else:
            del mutant[at]
    return bytes(mutant)
