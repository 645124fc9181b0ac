"""Which key a command is about: named by its public id, or presented whole and then proven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import click

from asgi_apikey.cli import values
from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.desk import Desk
from asgi_apikey.cli.session import Session
from asgi_apikey.models import KeyRecord

F = TypeVar("F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Target:
    """Exactly one of the two is set."""

    key_id: str | None
    presented: bytes | None = field(repr=False)

    async def record(self, desk: Desk) -> KeyRecord:
        """Return the key's record.

        Raises:
            KeyNotFound: No record has the id.
            InvalidKey: The presented key is not the one its id names.
            ConfigurationError: The digest of the presented key's record cannot be compared here.
        """
        if self.presented is not None:
            return await desk.prove(self.presented)
        assert self.key_id is not None
        return await desk.keys.get(self.key_id)


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
