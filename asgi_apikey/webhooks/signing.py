"""Signatures by which a receiver knows who has sent a message, and that it is not an old one sent again.

Source: Standard Webhooks 1.0.0, sections "Signature scheme" and "Webhook headers": HMAC-SHA-256 over the id, the
timestamp and the body, joined by full stops; secrets of 24 to 64 bytes, in base64 behind `whsec_`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from asgi_apikey.errors import ConfigurationError

PREFIX: Final = "whsec_"
_LEAST: Final = 24
_MOST: Final = 64
_ISSUED: Final = 32


def new_secret() -> str:
    """Make a secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_ISSUED)).decode()


def secret_bytes(secret: object) -> bytes:
    """Return the key that a secret stands for.

    Raises:
        ConfigurationError: It is none, or can be guessed. It is not repeated.
    """
    try:
        if not isinstance(secret, str) or not secret.startswith(PREFIX):
            raise ValueError
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if not _LEAST <= len(key) <= _MOST or len(set(key)) < _LEAST // 2:
        raise ConfigurationError(
            f"a webhook's secret is {PREFIX} and {_LEAST} to {_MOST} random bytes in base64; "
            "`asgi-apikey webhooks secret` prints a good one"
        )
    return key


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message.

    Args:
        keys: Newest last. Each signs, so that a receiver may know any one of them while they are being changed.
        message_id: The same each time that the message is sent.
        timestamp: Unix seconds of this attempt.
        body: As it is sent.
    """
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    made = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in reversed(keys))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{each}" for each in made),
    }
