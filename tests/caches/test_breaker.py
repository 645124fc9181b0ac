"""The breaker: closed, open, and one caller at a time in between."""

from __future__ import annotations

from asgi_apikey.caches.breaker import Breaker


def test_it_opens_after_failures_in_a_row() -> None:
    """A success in between begins the count anew."""
    breaker = Breaker(failures=2, pause=1.0)
    first = breaker.failed(0.0)
    breaker.succeeded()
    second, third = breaker.failed(0.0), breaker.failed(0.0)

    assert (first, second, third) == (False, False, True)
    assert not breaker.lets_through(0.9)


def test_one_caller_tries_in_every_pause() -> None:
    """All the others are spared."""
    breaker = Breaker(failures=1, pause=1.0)
    breaker.failed(0.0)

    assert [breaker.lets_through(now) for now in (0.5, 1.0, 1.0, 1.5, 2.0)] == [False, True, False, False, True]


def test_an_answer_closes_it() -> None:
    """Everybody may ask again."""
    breaker = Breaker(failures=1, pause=1.0)
    breaker.failed(0.0)
    breaker.lets_through(1.0)
    breaker.succeeded()

    assert breaker.lets_through(1.0)
    assert breaker.lets_through(1.0)
