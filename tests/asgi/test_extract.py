"""Where a request may present a key, and finding it there."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_apikey.asgi.extract import Extractor
from asgi_apikey.asgi.middleware import APIKeyMiddleware
from asgi_apikey.errors import AmbiguousCredential, ConfigurationError, MalformedKey
from tests.asgi.corpus.credentials import BEARER, COOKIE, HEADER, QUERY
from tests.asgi.driver import GOOD, FakeKeys, Inner, http, serve_now, websocket

CASES = [
    *(({}, lines, b"", status) for lines, status in HEADER),
    *(({"header": None, "bearer": True}, lines, b"", status) for lines, status in BEARER),
    *(({"header": None, "cookie": "k"}, lines, b"", status) for lines, status in COOKIE),
    *(({"header": None, "query_param": "api_key"}, (), query, status) for query, status in QUERY),
]

ONE_EACH = {
    "header": ("X-API-Key", (b"x-api-key", GOOD), b""),
    "bearer": (True, (b"authorization", b"Bearer " + GOOD), b""),
    "cookie": ("k", (b"cookie", b"k=" + GOOD), b""),
    "query_param": ("k", (b"x", b""), b"k=" + GOOD),
}


def test_the_corpus_is_large_enough() -> None:
    """It only shrinks on purpose."""
    assert len(CASES) >= 200
    assert sum(status != 200 for *_, status in CASES) >= 120


@pytest.mark.parametrize("number", range(len(CASES)))
@pytest.mark.parametrize("make", [http, websocket])
def test_every_way_to_present_a_key_has_its_status(make, number) -> None:
    """On HTTP and on WebSockets; only 200 reaches the application."""
    options, lines, query, status = CASES[number]
    inner = Inner()
    reply = serve_now(APIKeyMiddleware(inner, keys=FakeKeys(), **options), make(*lines, query_string=query))

    assert inner.calls == (status == 200)
    assert status == 200 or reply.status == status


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(ONE_EACH, 2)))
def test_two_places_at_once_are_ambiguous(one, two) -> None:
    """Even with the same key in both, and even if one of them is unreadable."""
    extractor = Extractor(**{"header": None, one: ONE_EACH[one][0], two: ONE_EACH[two][0]})
    query = ONE_EACH[one][2] + ONE_EACH[two][2]
    with pytest.raises(AmbiguousCredential):
        extractor.find([ONE_EACH[one][1], ONE_EACH[two][1]], query)


@pytest.mark.parametrize(("one", "two"), list(itertools.permutations(ONE_EACH, 2)))
def test_a_place_that_is_not_enabled_does_not_exist(one, two) -> None:
    """What it carries is neither used nor counted."""
    extractor = Extractor(**{"header": None, one: ONE_EACH[one][0]})

    assert extractor.find([ONE_EACH[two][1]], ONE_EACH[two][2]) is None
    assert extractor.find([ONE_EACH[one][1], ONE_EACH[two][1]], ONE_EACH[one][2] or ONE_EACH[two][2]) == GOOD


@pytest.mark.parametrize("value", [b"Basic eDp5", b"Digest x", b"BearerX y", b"Bear y"])
def test_another_scheme_is_no_credential_of_ours(value) -> None:
    """Somebody else may understand it."""
    assert Extractor(header=None, bearer=True).find([(b"authorization", value)], b"") is None


@pytest.mark.parametrize("value", [b"", b"Bearer", b"Bearer\t" + GOOD, b"bearer  x", b"Bearer x y"])
def test_an_unreadable_bearer_value_is_malformed(value) -> None:
    """It is not taken for "nothing presented", which could pass as anonymous."""
    with pytest.raises(MalformedKey):
        Extractor(header=None, bearer=True).find([(b"authorization", value)], b"")


@pytest.mark.parametrize(
    ("options", "fix"),
    [
        ({"header": None}, "enable one"),
        ({"header": ""}, "X-API-Key"),
        ({"header": "X API Key"}, "X-API-Key"),
        ({"header": "X-API-Key:"}, "X-API-Key"),
        ({"header": "X-API-K\u00e9y"}, "X-API-Key"),
        ({"header": "X-API-Key\r\n"}, "X-API-Key"),
        ({"header": b"X-API-Key"}, "X-API-Key"),
        ({"header": "Authorization", "bearer": True}, "header=None"),
        ({"header": "authorization", "bearer": True}, "header=None"),
        ({"header": "Cookie"}, "cookie="),
        ({"header": "cookie", "cookie": "k"}, "cookie="),
        ({"header": None, "cookie": ""}, "cookie"),
        ({"header": None, "cookie": "a=b"}, "cookie"),
        ({"header": None, "cookie": "a;b"}, "cookie"),
        ({"header": None, "query_param": ""}, "query_param"),
        ({"header": None, "query_param": "api key"}, "query_param"),
        ({"header": None, "query_param": "a[b]"}, "query_param"),
        ({"header": None, "query_param": "a=b"}, "query_param"),
        ({"header": None, "query_param": "\u00e9"}, "query_param"),
        ({"header": None, "query_param": b"k"}, "query_param"),
    ],
    ids=repr,
)
def test_names_that_cannot_work_are_refused(options, fix) -> None:
    """While wiring, with what to write instead."""
    with pytest.raises(ConfigurationError, match=fix):
        Extractor(**options)


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from([b"x-api-key", b"Authorization", b"cookie", b"COOKIE", b"x"]),
            st.sampled_from([GOOD, b"", b"Bearer " + GOOD, b"bearer", b"Basic x", b"k=1", b"a=1; k=2; b=3", b"a=1"]),
        ),
        max_size=6,
    )
)
def test_nothing_is_found_after_stripping(lines) -> None:
    """And no line is made up."""
    extractor = Extractor(header="X-API-Key", cookie="k", bearer=True)
    left = extractor.stripped_headers(lines)
    names = [name for name, _ in lines]

    assert not any(name == b"x-api-key" for name, _ in left)
    assert [name for name, _ in left if name not in names] == []
    bearers = [line for line in left if line[0] == b"Authorization"]
    assert len(bearers) > 1 or extractor.find(left, b"") is None
