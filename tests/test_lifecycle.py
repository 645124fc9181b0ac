"""The rules of a key's life: which values it may have, and which changes its state allows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asgi_apikey import lifecycle
from asgi_apikey.errors import InvalidRequest
from asgi_apikey.models import DAY, UNSET, Instant, KeyRecord, KeyRequest, RecordPatch, Seconds, Status
from asgi_apikey.repositories.records import from_row, to_row
from asgi_apikey.verification import status_of
from tests.fakes import NOON
from tests.records import a_record

END_OF_TIME = 253_402_300_800
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


def nested(levels: int) -> Any:
    """A JSON object that is so many containers deep."""
    value: Any = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def record_of(now: Instant = NOON, /, **asked: Any) -> KeyRecord:
    """The record of a key asked for like this."""
    request = KeyRequest(**{"owner": "acme", **asked})
    return lifecycle.record_of(request, key_id="k1", digest="d", hint="wxyz", environment="live", now=now)


# Instants


@given(st.floats(min_value=0, max_value=END_OF_TIME, exclude_max=True))
def test_an_instant_is_rounded_to_the_millisecond_and_stays_what_it_is(value: float) -> None:
    """Rounding again changes nothing, and the last one still lies in the year 9999."""
    assume(value < END_OF_TIME - 0.001)
    rounded = lifecycle.instant(value)

    assert abs(rounded - value) <= 0.0005 + 1e-4
    assert lifecycle.instant(rounded) == rounded
    assert datetime.fromtimestamp(rounded, UTC).year <= 9_999


def test_an_instant_is_a_float() -> None:
    """Whole seconds given as an integer print like any other instant."""
    assert repr(lifecycle.instant(1_800_000_000)) == "1800000000.0"


@pytest.mark.parametrize(
    "value",
    [
        -0.001,
        END_OF_TIME,
        END_OF_TIME - 0.0001,
        math.nan,
        math.inf,
        -math.inf,
        10**400,
        "1800000000",
        True,
        Decimal(5),
        datetime(2030, 1, 1, tzinfo=UTC),
        None,
    ],
    ids=repr,
)
def test_what_is_no_instant_is_refused(value: Any) -> None:
    """Outside 1970 to 9999 (also after rounding), not finite, too large for a float, or not a number at all."""
    with pytest.raises(InvalidRequest, match="Unix seconds"):
        lifecycle.instant(value)


# Text


@pytest.mark.parametrize("value", ["live", "test", "a", "a" * 16, "s3"])
def test_an_environment_is_a_short_word(value: str) -> None:
    """It stands in the key."""
    assert lifecycle.environment(value) == value


@pytest.mark.parametrize("value", ["", "Live", "a" * 17, "3s", "a_b", "live\n", "lïve", None, 5, b"live"], ids=repr)
def test_what_cannot_stand_in_a_key_is_no_environment(value: object) -> None:
    """An underscore would end it; other letters could not be told from the key's own."""
    with pytest.raises(InvalidRequest, match="environment"):
        lifecycle.environment(value)


@given(st.text(max_size=30))
def test_a_text_that_is_kept_can_be_stored_and_logged(value: str) -> None:
    """Whatever passes is valid Unicode without control characters other than line breaks and tabs."""
    try:
        kept = lifecycle.text(value, "description", most=20)
    except InvalidRequest:
        return

    assert kept == value
    assert len(value.encode()) >= len(value)
    assert len(value) <= 20
    assert all(char in "\n\t" or char.isprintable() or ord(char) >= 0xA0 for char in value)


@pytest.mark.parametrize("least", [0, 1])
@pytest.mark.parametrize("value", ["x\0", "x\x1b[31m", "x\r", "x\x7f", "x\x85", "x\ud800", "x" * 21, None, 5, b"x"])
def test_a_text_that_could_harm_a_store_or_a_log_is_refused(value: object, least: int) -> None:
    """NUL, escapes, carriage returns, C1 controls, lone surrogates, too much; and what is no text."""
    with pytest.raises(InvalidRequest, match="description must"):
        lifecycle.text(value, "description", most=20, least=least)


@pytest.mark.parametrize("value", ["", " ", "\t \n", "\u3000"], ids=repr)
def test_an_owner_is_not_blank(value: str) -> None:
    """Spaces of any kind are nobody."""
    with pytest.raises(InvalidRequest, match="owner must"):
        record_of(owner=value)


@pytest.mark.parametrize("field", ["owner", "tenant", "name", "created_by"])
@pytest.mark.parametrize("value", ["a\nb", "a\tb", "a\u2028b", "a\u2029b"], ids=repr)
def test_a_name_is_one_line(field: str, value: str) -> None:
    """A line break in an owner would be a second line in a log, and a tab a second column in a table."""
    with pytest.raises(InvalidRequest, match=f"{field} must"):
        record_of(**{field: value})


def test_a_description_may_have_lines() -> None:
    """It is prose."""
    assert record_of(description="one\n\ttwo").description == "one\n\ttwo"


@pytest.mark.parametrize(("field", "most"), [("owner", 255), ("tenant", 255), ("name", 255), ("description", 2_048)])
def test_a_text_has_a_length(field: str, most: int) -> None:
    """Counted in characters; the longest is kept whole, one more is refused."""
    assert getattr(record_of(**{field: "é" * most}), field) == "é" * most
    with pytest.raises(InvalidRequest, match=f"{field} must have"):
        record_of(**{field: "é" * (most + 1)})


# Scopes


@given(st.lists(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1)))
def test_every_rfc_6749_scope_token_is_a_scope(names: list[str]) -> None:
    """Section 3.3: printable ASCII without space, quotation mark and backslash; `*` has a meaning of its own."""
    assume(all(len(name) <= 128 and "*" not in name for name in names) and len(set(names)) <= 100)

    assert lifecycle.scopes(names) == frozenset(names)


@pytest.mark.parametrize(
    "values", [[""], ["a b"], ['a"'], ["a\\"], ["é"], ["a\n"], ["a" * 129], [None], [b"a"], [["a"]], b"a", None, 5, "a"]
)
def test_what_is_no_collection_of_scopes_is_refused(values: Any) -> None:
    """One string in place of a collection is the classic mistake: it would grant its letters."""
    with pytest.raises(InvalidRequest, match="scope"):
        lifecycle.scopes(values)


def test_a_key_has_at_most_a_hundred_scopes() -> None:
    """Counted without repeats."""
    names = [f"s{number}" for number in range(100)]

    assert len(lifecycle.scopes(names * 3)) == 100
    with pytest.raises(InvalidRequest, match="at most 100"):
        lifecycle.scopes([*names, "one more"[:3]])


# Metadata


@given(OBJECTS)
def test_metadata_is_kept_as_json_would_keep_it(value: dict[str, Any]) -> None:
    """What was accepted reads back equal, from us and from a repository; what has NUL characters is not accepted."""
    has_nul = "\0" in "".join(_texts(value))
    try:
        kept = lifecycle.metadata(value)
    except InvalidRequest:
        assert has_nul
        return
    stored = from_row(to_row(a_record(metadata=kept))).metadata

    assert not has_nul
    assert _plain(kept) == value
    assert _plain(stored) == value


def test_metadata_that_spells_an_escape_has_no_nul() -> None:
    r"""A backslash followed by `u0000` is six characters, not one."""
    value = {"pattern": r"\u0000", "more": "\\\\u0000"}

    assert _plain(lifecycle.metadata(value)) == value
    with pytest.raises(InvalidRequest, match="NUL"):
        lifecycle.metadata({"pattern": "\\\0"})


def test_metadata_is_a_copy_that_cannot_be_changed() -> None:
    """Caches share it among requests, so nothing in it is mutable, and the caller's own object is not in it."""
    value: Any = {"tags": ["a"], "plan": {"seats": 5}}
    kept: Any = lifecycle.metadata(value)
    value["tags"].append("b")

    assert kept["tags"] == ("a",)
    for inner in (kept, kept["plan"], kept["tags"]):
        with pytest.raises(TypeError, match=r"cannot be changed|does not support item assignment"):
            inner[0] = "b"


def test_kept_metadata_is_kept_again() -> None:
    """A rotation hands on what a record holds: read-only all the way down."""
    kept = lifecycle.metadata({"a": [{"b": [1, None]}]})

    assert lifecycle.metadata(kept) == kept


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {"a": math.nan},
        {"a": -math.inf},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": datetime(2030, 1, 1, tzinfo=UTC)},
        {1: "x"},
        {"a": {None: "x"}},
        {"a": [{True: "x"}]},
        {(1, 2): "x"},
        {"a": "\ud800"},
        {"\ud800": "a"},
        {"a": 10**5_000},
        {"a": "x" * 8_192},
    ],
    ids=lambda value: repr(value)[:20] if not isinstance(value, dict) else ", ".join(map(ascii, value)),
)
def test_what_is_no_json_object_of_ours_is_refused(value: Any) -> None:
    """Also keys that are no text: JSON would write 1 as "1", and of `{1: …, "1": …}` one would be lost."""
    with pytest.raises(InvalidRequest, match="metadata must"):
        lifecycle.metadata(value)


def test_metadata_that_contains_itself_is_refused() -> None:
    """Before anybody recurses into it."""
    value: dict[str, Any] = {}
    value["a"] = [value]

    with pytest.raises(InvalidRequest, match="metadata must"):
        lifecycle.metadata(value)


@pytest.mark.parametrize("levels", [33, 100, 330, 600, 1_300, 100_000])
def test_metadata_is_not_too_deep(levels: int) -> None:
    """Whatever is accepted here must be readable later on a fuller stack: a key must not die of its metadata."""
    with pytest.raises(InvalidRequest, match="metadata must"):
        lifecycle.metadata(nested(levels))


def test_metadata_may_be_nested() -> None:
    """Up to 32 containers, which nobody needs and every parser can read."""
    assert _plain(lifecycle.metadata(nested(32))) == nested(32)


def test_metadata_has_a_size_in_bytes() -> None:
    """8 KiB of JSON in UTF-8."""
    assert lifecycle.metadata({"a": "é" * ((8_192 - len('{"a": ""}')) // 2)})
    with pytest.raises(InvalidRequest, match="8192 bytes"):
        lifecycle.metadata({"a": "é" * 4_096})


def _plain(value: Any) -> Any:
    if hasattr(value, "items"):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    return [text for each in value for text in _texts(each)] if isinstance(value, list) else []


# New records


def test_a_record_is_what_was_asked_for() -> None:
    """Nothing is added, nothing is lost, and the plain request gives the plain record."""
    asked: dict[str, Any] = {
        "owner": "acme",
        "tenant": "t",
        "name": "ci",
        "description": "for ci",
        "scopes": frozenset({"a"}),
        "not_before": NOON + 5,
        "expires_at": NOON + 10,
        "created_by": "ann",
        "metadata": {"a": 1},
    }

    assert record_of(**asked) == KeyRecord(
        key_id="k1", digest="d", hint="wxyz", environment="live", created_at=NOON, **asked
    )
    assert record_of() == KeyRecord(
        key_id="k1", digest="d", hint="wxyz", owner="acme", environment="live", created_at=NOON
    )


def test_a_lifetime_counts_from_now() -> None:
    """`expires_in` becomes `expires_at`."""
    assert record_of(expires_in=DAY).expires_at == NOON + DAY


@pytest.mark.parametrize(
    "asked",
    [
        {"expires_in": 5.0, "expires_at": NOON + 5},
        {"expires_in": 0.0},
        {"expires_in": -1.0},
        {"expires_in": 0.0004},
        {"expires_in": math.nan},
        {"expires_in": math.inf},
        {"expires_in": 1e300},
        {"expires_in": 10**400},
        {"expires_in": "5"},
        {"expires_in": True},
        {"expires_in": timedelta(days=1)},
        {"expires_at": NOON},
        {"expires_at": NOON - 1},
        {"expires_at": datetime(2050, 1, 1, tzinfo=UTC)},
        {"expires_at": NOON + 10, "not_before": NOON + 10},
        {"expires_at": NOON + 10, "not_before": NOON + 10.0004},
        {"not_before": math.nan},
        {"not_before": "tomorrow"},
    ],
    ids=repr,
)
def test_a_life_that_cannot_be_lived_is_refused(asked: dict[str, Any]) -> None:
    """An end that is not ahead, a start that is not before the end, two ends, or no number."""
    with pytest.raises(InvalidRequest):
        record_of(**asked)


@given(
    st.floats(min_value=0, max_value=2e9),
    st.floats(min_value=0, max_value=1e9),
    st.none() | st.floats(min_value=0, max_value=3e9),
)
def test_a_record_that_is_made_has_a_life(now: Instant, lifetime: Seconds, start: Instant | None) -> None:
    """There is an instant at which it works; it was made at one that every repository can keep."""
    try:
        record = record_of(now, expires_in=lifetime, not_before=start)
    except InvalidRequest:
        return
    first = max(record.created_at, record.not_before or 0.0)

    assert status_of(record, first) is Status.ACTIVE
    assert to_row(from_row(to_row(record))) == to_row(record)


# Amending


def amended(record: KeyRecord, **changes: Any) -> KeyRecord:
    """The record after an amendment."""
    columns = lifecycle.amendment(record, RecordPatch(**changes), NOON).columns()
    return replace(record, **columns)  # type: ignore[arg-type]


def test_an_amendment_sets_what_is_given_and_nothing_else() -> None:
    """Unset columns stay unset, so that another's change to them is not undone."""
    patch = lifecycle.amendment(a_record(name="old"), RecordPatch(name="new"), NOON)

    assert patch.columns() == {"name": "new"}


def test_an_amendment_of_nothing_changes_nothing() -> None:
    """An empty patch stays empty."""
    assert lifecycle.amendment(a_record(), RecordPatch(), NOON).columns() == {}


def test_none_removes_an_instant() -> None:
    """A start or an end can be taken away, which is not the same as leaving it."""
    record = a_record(not_before=NOON + 5, expires_at=NOON + 10)

    assert amended(record, not_before=None).not_before is None
    assert amended(record, expires_at=None).expires_at is None
    assert amended(record) == record


@pytest.mark.parametrize("field", ["name", "description", "scopes", "metadata"])
def test_none_is_no_value_of_what_is_always_there(field: str) -> None:
    """These have an empty value, which says so."""
    with pytest.raises(InvalidRequest):
        amended(a_record(), **{field: None})


def test_an_amendment_is_checked_like_a_new_key() -> None:
    """Every column."""
    wrong: list[dict[str, Any]] = [
        {"name": "a\nb"},
        {"description": "a\0"},
        {"scopes": "orders"},
        {"metadata": {"a": math.nan}},
        {"not_before": math.inf},
        {"expires_at": NOON},
        {"expires_at": "later"},
    ]
    for changes in wrong:
        with pytest.raises(InvalidRequest):
            amended(a_record(), **changes)


def test_a_start_and_an_end_are_compared_with_what_the_record_has() -> None:
    """Amending one of them takes the other from the record."""
    record = a_record(not_before=NOON + 50, expires_at=NOON + 100)

    assert amended(record, expires_at=NOON + 51).expires_at == NOON + 51
    with pytest.raises(InvalidRequest, match="not_before must lie before"):
        amended(record, expires_at=NOON + 50)
    with pytest.raises(InvalidRequest, match="not_before must lie before"):
        amended(record, not_before=NOON + 100)
    assert amended(record, not_before=NOON + 100, expires_at=None).expires_at is None


def test_an_expired_key_can_be_renamed_and_be_given_a_new_end() -> None:
    """Its past end is no obstacle to changes of other columns."""
    record = a_record(expires_at=NOON - 5)

    assert amended(record, name="old key").name == "old key"
    assert amended(record, expires_at=NOON + 5).expires_at == NOON + 5


# Switching, revoking


CHANGES: list[Callable[[KeyRecord], RecordPatch | None]] = [
    lambda record: lifecycle.amendment(record, RecordPatch(name="x"), NOON),
    lambda record: lifecycle.amendment(record, RecordPatch(), NOON),
    lambda record: lifecycle.disabling(record, NOON),
    lambda record: lifecycle.enabling(record, NOON),
    lambda record: lifecycle.succession(record, NOON, grace=DAY),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "facts", [{}, {"disabled_at": NOON}, {"expires_at": NOON - 1}], ids=["", "disabled", "expired"]
)
def test_a_revoked_key_stays_as_it_is(
    change: Callable[[KeyRecord], RecordPatch | None], facts: dict[str, Instant]
) -> None:
    """Revocation is for good: no change of it is allowed, whatever else the key is."""
    with pytest.raises(InvalidRequest, match=r"revoked"):
        change(a_record(revoked_at=NOON - 5, **facts))


def test_disabling_and_enabling_undo_each_other() -> None:
    """Each sets one column."""
    off = lifecycle.disabling(a_record(), NOON)
    on = lifecycle.enabling(a_record(disabled_at=NOON - 5), NOON)

    assert off == RecordPatch(disabled_at=NOON)
    assert on == RecordPatch(disabled_at=None)


def test_what_is_so_already_needs_no_change() -> None:
    """The first disabling and the first revocation keep their instants and reasons."""
    assert lifecycle.disabling(a_record(disabled_at=NOON - 5), NOON) is None
    assert lifecycle.enabling(a_record(), NOON) is None
    assert lifecycle.revocation(a_record(revoked_at=NOON - 5), NOON, by="ann", reason="again") is None


@pytest.mark.parametrize("facts", [{}, {"disabled_at": NOON}, {"expires_at": NOON - 1}, {"not_before": NOON + 5}])
def test_every_key_can_be_revoked(facts: dict[str, Instant]) -> None:
    """Also one that does not work now: it might later."""
    patch = lifecycle.revocation(a_record(**facts), NOON, by="ann", reason="leaked\nin a log")

    assert patch == RecordPatch(revoked_at=NOON, revoked_by="ann", revoke_reason="leaked\nin a log")


@pytest.mark.parametrize(("by", "reason"), [("a\nb", ""), ("x" * 256, ""), ("", "a\0"), ("", "x" * 2_049)])
def test_a_revocation_says_who_and_why_in_words_that_can_be_kept(by: str, reason: str) -> None:
    """They go into the record and the log."""
    with pytest.raises(InvalidRequest, match="revoke"):
        lifecycle.revocation(a_record(), NOON, by=by, reason=reason)


# Rotation


def test_a_replaced_key_works_for_the_grace_and_then_ends() -> None:
    """Only its end is changed."""
    assert lifecycle.succession(a_record(), NOON, grace=DAY) == RecordPatch(expires_at=NOON + DAY)


@pytest.mark.parametrize("grace", [DAY, 1e300, math.inf])
def test_a_rotation_never_prolongs_a_key(grace: Seconds) -> None:
    """An end that comes before the grace is over stays."""
    assert lifecycle.succession(a_record(expires_at=NOON + 5), NOON, grace=grace) == RecordPatch(expires_at=NOON + 5)


@given(st.floats(min_value=1e9, max_value=4e9), st.just(0.0) | st.floats(min_value=0, max_value=1e6))
def test_the_grace_is_never_rounded_up(now: Instant, grace: Seconds) -> None:
    """Rotated with `grace=0` after a leak, the old key does not work for another half of a millisecond."""
    end = lifecycle.succession(a_record(created_at=0.0), now, grace=grace).expires_at

    assert isinstance(end, float)
    assert now + grace - 0.002 < end <= now + grace
    assert lifecycle.instant(end) == end


@pytest.mark.parametrize("grace", [-1.0, -1e-9, math.nan, -math.inf, "5", None, True], ids=repr)
def test_a_grace_is_a_number_of_seconds(grace: Any) -> None:
    """Not less than none."""
    with pytest.raises(InvalidRequest, match="grace must be"):
        lifecycle.succession(a_record(), NOON, grace=grace)


@pytest.mark.parametrize("grace", [1e300, math.inf])
def test_an_endless_grace_for_an_endless_key_is_refused(grace: Seconds) -> None:
    """There is no instant that could be its end."""
    with pytest.raises(InvalidRequest, match="years 1970 and 9999"):
        lifecycle.succession(a_record(), NOON, grace=grace)


@pytest.mark.parametrize(
    ("facts", "standing"),
    [
        ({"disabled_at": NOON}, "disabled"),
        ({"expires_at": NOON}, "expired"),
        ({"not_before": NOON + 1}, "not yet valid"),
    ],
)
def test_only_a_key_in_use_is_rotated(facts: dict[str, Instant], standing: str) -> None:
    """A successor would work where the key itself does not."""
    with pytest.raises(InvalidRequest, match=f"this one is {standing}"):
        lifecycle.succession(a_record(**facts), NOON, grace=DAY)


def test_a_successor_has_the_same_rights_and_again_the_whole_lifetime() -> None:
    """Who, what and how long; not the start, which has passed, nor the usage."""
    record = a_record(
        tenant="t",
        environment="test",
        name="ci",
        description="for ci",
        scopes=frozenset({"a"}),
        metadata={"a": 1},
        created_by="ann",
        not_before=NOON,
        expires_at=NOON + 90 * DAY,
        uses=5,
        last_used_at=NOON,
    )

    assert lifecycle.successor(record, NOON + 80 * DAY, created_by="bob") == KeyRequest(
        owner="acme",
        tenant="t",
        environment="test",
        name="ci",
        description="for ci",
        scopes=frozenset({"a"}),
        metadata={"a": 1},
        created_by="bob",
        expires_at=NOON + 170 * DAY,
    )


def test_the_successor_of_an_endless_key_is_endless() -> None:
    """No end is a lifetime too."""
    assert lifecycle.successor(a_record(), NOON, created_by="").expires_at is None


def test_unset_is_not_none() -> None:
    """The two that every amendment tells apart."""
    assert RecordPatch().columns() == {}
    assert RecordPatch(expires_at=None).columns() == {"expires_at": None}
    assert RecordPatch(expires_at=UNSET) == RecordPatch()


def test_metadata_is_measured_as_it_is_written() -> None:
    """The size is that of the JSON text with one space after `:` and `,`, in UTF-8."""
    value = {"a": "x" * 4_000, "b": "é" * 2_000}
    room = 8_192 - len(json.dumps(value, ensure_ascii=False).encode())

    assert lifecycle.metadata(value | {"a": "x" * (4_000 + room)})
    with pytest.raises(InvalidRequest, match="8192 bytes"):
        lifecycle.metadata(value | {"a": "x" * (4_001 + room)})
