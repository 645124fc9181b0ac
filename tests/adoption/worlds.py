"""The systems of the golden keys, configured as they were when the keys were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from asgi_apikey.adopted.beanone import beanone_apikey
from asgi_apikey.adopted.betterauth import better_auth
from asgi_apikey.adopted.columns import sha256_columns
from asgi_apikey.adopted.djangorestframework import djangorestframework_api_key
from asgi_apikey.adopted.game import game
from asgi_apikey.adopted.keyshield import Scheme, fastapi_api_key, keyshield
from asgi_apikey.adopted.kong import kong
from asgi_apikey.adopted.litellm import litellm
from asgi_apikey.adopted.sanctum import sanctum
from asgi_apikey.adopted.suna import suna
from asgi_apikey.adopted.systems import ForeignSystem
from asgi_apikey.adopted.unkey import unkey
from tests.adoption.golden import Golden

PEPPER: Final = "kX3-vQ9_wZ7mB2tL8cF5nR1yH6jD4sGp"


def _schemes(golden: Golden) -> tuple[Scheme, ...]:
    return ("bcrypt",) if golden.scheme == "bcrypt" else ("argon2",)


SYSTEMS: Final[Mapping[str, Callable[[Golden], ForeignSystem]]] = {
    "keyshield": lambda golden: keyshield(pepper=golden.pepper, schemes=_schemes(golden)),
    "fastapi-api-key": lambda golden: fastapi_api_key(pepper=golden.pepper, schemes=_schemes(golden)),
    "beanone-apikey": lambda golden: beanone_apikey(),
    "game": lambda golden: game(),
    "suna": lambda golden: suna(secret=golden.pepper),
    "djangorestframework-api-key": lambda golden: djangorestframework_api_key(),
    "sanctum": lambda golden: sanctum(),
    "unkey": lambda golden: unkey(prefix="acme"),
    "better-auth": lambda golden: better_auth(prefix="acme_"),
    "litellm": lambda golden: litellm(),
    "kong": lambda golden: kong(),
    "sha256": lambda golden: sha256_columns(pattern="acme_[0-9a-f]{64}", specimen=f"acme_{'0' * 64}"),
}


def system_of(golden: Golden) -> ForeignSystem:
    """The system that has made these keys."""
    return SYSTEMS[golden.system](golden)
