"""Signatures as Standard Webhooks has them."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.webhooks.signing import new_secret, secret_bytes, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_libraries_is_signed_alike() -> None:
    """The one that libraries for Standard Webhooks in several languages test with."""
    headers = signed_headers(
        [secret_bytes(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_signs_while_they_are_being_changed() -> None:
    """The newest first; a receiver accepts any one that it knows."""
    old, new = secret_bytes(SECRET), secret_bytes(new_secret())
    signature = signed_headers([old, new], "m", 7, b"{}")["webhook-signature"]

    made = [base64.b64encode(hmac.new(key, b"m.7.{}", hashlib.sha256).digest()).decode() for key in (new, old)]
    assert signature == " ".join(f"v1,{each}" for each in made)


def test_a_new_secret_is_a_good_one() -> None:
    """Different each time, of 32 bytes."""
    made = {new_secret() for _ in range(20)}

    assert len(made) == 20
    assert {len(secret_bytes(each)) for each in made} == {32}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x" * 40,
        SECRET[6:],
        "whsec_",
        "whsec_!!!!",
        "whsec_" + base64.b64encode(b"0123456789abcdef0123456").decode(),
        "whsec_" + base64.b64encode(bytes(range(65))).decode(),
        "whsec_" + base64.b64encode(b"a" * 32).decode(),
        None,
    ],
)
def test_what_can_be_guessed_is_no_secret(secret: object) -> None:
    """Nor is anything of another shape; it is not repeated in the message."""
    with pytest.raises(ConfigurationError, match="webhooks secret") as caught:
        secret_bytes(secret)

    assert not secret or secret == "whsec_" or str(secret) not in str(caught.value)
