"""Which key a command is about: named by its public id, or presented whole and then proven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli import values
from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.session import Session
from asgi_apikey.errors import ConfigurationError, UnknownKey, WrongSecret
from asgi_apikey.models import KeyRecord, Lane

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Target:
    """Exactly one of the two is set."""

    key_id: str | None
    presented: bytes | None = field(repr=False)

    async def record(self, keys: APIKeys) -> KeyRecord:
        """Return the key's record.

        Raises:
            KeyNotFound: No record has the id.
            InvalidKey: The presented key is not the one its id names.
            ConfigurationError: The digest of the presented key's record cannot be compared here.
        """
        if self.presented is not None:
            return await proven_record(keys, self.presented)
        assert self.key_id is not None
        return await keys.get(self.key_id)


def target_options(command: F) -> F:
    """Add `[KEY_ID]` and `--key`, the parameters `key_id` and `key`; `target_of` makes them a target."""
    flag = click.option("--key", is_flag=True, help="Read the whole key from standard input, or ask for it, hidden.")
    return click.argument("key_id", type=values.key_id, required=False)(flag(command))


def target_of(session: Session, key_id: str | None, key: bool) -> Target:
    """Return the target, asking for the key where one is to be presented.

    Raises:
        UsageError: None was named, or two.
    """
    if key == (key_id is not None):
        raise click.UsageError("name one key: KEY_ID, or --key to give the whole key on standard input")
    return Target(key_id, presented_key(session) if key else None)


async def proven_record(keys: APIKeys, presented: bytes) -> KeyRecord:
    """Return the record of a presented key, whatever its standing, once the secret has matched.

    Key ids are public: without the proof, anybody could have somebody else's key revoked by sending in a made-up
    "leaked key" that carries its id. The request path is not used, because looking at a key does not count as a use
    of it, and works in any environment.

    Raises:
        InvalidKey: Malformed, unknown, or another secret.
        ConfigurationError: The digest was made under a pepper, or a scheme, that is not configured here.
    """
    parsed = keys.format.parse(presented)
    record = await keys.repository.get(parsed.key_id)
    if record is None:
        raise UnknownKey(parsed.key_id)
    if not keys.hasher.accepts(record.digest):
        raise ConfigurationError(
            f"the digest of key {record.key_id} cannot be compared with these settings; "
            "set ASGI_APIKEY_PEPPER to the peppers that the server has"
        )
    # There are no strangers here whom the key would have to be protected from.
    if not await keys.hasher.verify(presented, record.digest, lane=Lane.PROVEN):
        raise WrongSecret(record.key_id)
    return record
