"""One run of the command: its settings, and the keys it works on."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.protocols import Clock
from asgi_apikey.settings import Settings

T = TypeVar("T")


def at_a_terminal() -> bool:
    """Whether a person can be asked: standard input is open, and a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


@dataclass(slots=True)
class Session:
    """What every command gets as its first argument.

    Attributes:
        environ: Where the settings are read from; secrets inside, so not in the repr.
        open_keys: Wires the parts.
        clock: Tells a key's status, and what "in 90 days" means.
        interactive: Whether somebody can be asked.
        url: `--url`, which goes before the environment.
        as_json: `--json`: machine-readable output.
    """

    environ: Mapping[str, str] = field(repr=False)
    open_keys: Callable[[Settings], APIKeys] = APIKeys.from_settings
    clock: Clock = field(default_factory=SystemClock)
    interactive: Callable[[], bool] = at_a_terminal
    url: str | None = None
    as_json: bool = False

    def settings(self) -> Settings:
        """Return the environment's settings, with `--url` on top.

        Raises:
            ConfigurationError: A variable that cannot be read, or that does not exist.
        """
        settings = Settings.from_env(self.environ)
        return settings if self.url is None else replace(settings, url=self.url)

    def run(self, work: Callable[[APIKeys], Awaitable[T]], *, create: bool = False) -> T:
        """Do `work` on the opened keys, close them, and return its result.

        Args:
            work: Called once, in an event loop of its own.
            create: Whether a store may be brought into being, or migrated.

        Raises:
            ConfigurationError: The settings cannot be used.
            StoreUnavailable: The store is not there, or does not answer.
        """
        keys = self.open_keys(beside_servers(self.settings()))

        async def opened() -> T:
            try:
                # Not `keys.open()`: a server starts without its store, a command has nothing to do without it.
                await keys.repository.open(create=create)
                return await work(keys)
            finally:
                await keys.close()

        return anyio.run(opened)


def beside_servers(settings: Settings) -> Settings:
    """Return the settings as they are true for this process, which is never the one that serves requests.

    Raises:
        ConfigurationError: The store would end with this command.
    """
    if settings.url.partition(":")[0] == "memory":
        raise ConfigurationError(
            "memory: would be gone when this command ends; give --url sqlite:///keys.db, or set ASGI_APIKEY_URL"
        )
    return replace(settings, single_process=False)
