"""Unexpected errors in the log: where, and never what."""

from __future__ import annotations

from asgi_apikey.tracebacks import described


def raised(error: Exception, depth: int = 0) -> Exception:
    """The error, after it was raised this deep."""
    try:
        if depth:
            raise raised(error, depth - 1)
        raise error
    except Exception as caught:
        return caught


def test_an_error_is_described_without_its_text() -> None:
    """By class and place, which hold no values."""
    text = described(raised(KeyError("ak_live_secret")))

    assert text.startswith("KeyError [")
    assert "test_tracebacks.py" in text
    assert "in raised" in text
    assert "secret" not in text


def test_a_deep_error_is_described_in_few_places() -> None:
    """The innermost ones: what a recursion would add tells nothing."""
    error = raised(ValueError(), depth=100)

    assert described(error).count(" in raised") == 20
    assert described(error, frames=1).count(" in raised") == 1
    assert described(error).endswith(described(error, frames=1).removeprefix("ValueError ["))


def test_an_error_that_was_never_raised_has_no_place() -> None:
    """Its class is all there is."""
    assert described(LookupError("secret")) == "LookupError []"
