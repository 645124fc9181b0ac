"""The contract of what events leave in a store: dead letters, and notices of what was told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import pytest

from asgi_apikey.models import DAY, DeadLetter
from asgi_apikey.protocols import DeadLetters, Notices
from tests.fakes import NOON, together


@dataclass(frozen=True, slots=True)
class Post:
    """Both, of one empty store."""

    letters: DeadLetters
    notices: Notices


def a_letter(letter_id: str = "e1", **fields: object) -> DeadLetter:
    """A message that nobody has taken."""
    letter = DeadLetter(
        letter_id=letter_id,
        endpoint="f" * 16,
        event="revoked",
        body='{"a":1}',
        at=NOON,
        attempts=6,
        reason="status 500",
    )
    return replace(letter, **fields)  # type: ignore[arg-type] # a test's own fields


class LettersContract:
    """What every store does with them."""

    pytestmark = pytest.mark.anyio

    async def test_letters_are_kept_until_they_are_removed(self, post: Post) -> None:
        """By id, page by page."""
        letters = [a_letter(f"e{number}", attempts=number) for number in range(5)]
        await post.letters.put(letters[3:])
        await post.letters.put(letters[:3])
        await post.letters.put([])

        assert list(await post.letters.page("", limit=3)) == letters[:3]
        assert list(await post.letters.page("e2", limit=3)) == letters[3:]
        assert await post.letters.remove(["e1", "nobody", "a\0b"]) == 1
        assert await post.letters.remove([]) == 0
        assert [each.letter_id for each in await post.letters.page("", limit=10)] == ["e0", "e2", "e3", "e4"]

    async def test_a_letter_that_failed_again_says_so(self, post: Post) -> None:
        """It stays one."""
        await post.letters.put([a_letter()])
        again = a_letter(attempts=7, reason="status 418", at=NOON + DAY)
        await post.letters.put([again])

        assert list(await post.letters.page("", limit=10)) == [again]

    async def test_a_notice_is_claimed_once(self, post: Post) -> None:
        """For each key and each text, however many ask."""
        first = await post.notices.claim([("k1", "a"), ("k2", "a"), ("k1", "a")], NOON)
        second = await post.notices.claim([("k1", "a"), ("k1", "b"), ("k3", "a")], NOON + 1)

        assert sorted(first) == [("k1", "a"), ("k2", "a")]
        assert sorted(second) == [("k1", "b"), ("k3", "a")]
        assert list(await post.notices.claim([], NOON)) == []

    async def test_of_many_who_claim_at_once_one_gets_it(self, post: Post) -> None:
        """So nobody is told twice."""
        wanted = [(f"k{number}", "a") for number in range(10)]
        claimed = await together(*(partial(post.notices.claim, wanted, NOON) for _ in range(4)))

        assert sorted(each for some in claimed for each in some) == sorted(wanted)

    async def test_old_notices_are_forgotten(self, post: Post) -> None:
        """After more than a year, which is longer than anybody is told in advance."""
        await post.notices.claim([("k1", "a")], NOON)

        assert list(await post.notices.claim([("k1", "a")], NOON + 399 * DAY)) == []
        assert list(await post.notices.claim([("k1", "a")], NOON + 401 * DAY)) == [("k1", "a")]
