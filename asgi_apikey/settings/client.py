"""What a command needs to work through a server instead of on the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asgi_apikey.settings.given import Given, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Where the management API is, and who asks. The token is not in the repr.

    Attributes:
        server: Its URL; empty: commands work on the store itself.
        token: An API key that manages, or a JSON Web Token; empty: whoever is at the terminal is asked.
    """

    server: str = ""
    token: str = field(default="", repr=False)

    @classmethod
    def from_given(cls, given: Mapping[str, Given]) -> ClientSettings:
        """Read the settings from texts, by their names without the prefix."""
        read = Reader(given)
        return cls(server=read.text("SERVER"), token=read.text("TOKEN").strip())
