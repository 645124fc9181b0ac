"""One run of the command: its settings, and the keys it works on."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import anyio
import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.desk import Desk, ServerDesk, StoreDesk
from asgi_apikey.cli.remote import RemoteKeys
from asgi_apikey.cli.wire import Address, HTTPTransport, Transport, address_of
from asgi_apikey.clock import SystemClock
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.protocols import Clock
from asgi_apikey.settings import (
    PREFIX,
    Configuration,
    Given,
    Settings,
    Sources,
    read_client,
    read_configuration,
    read_settings,
)

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
        reach: Makes what sends requests to a server.
        clock: Tells a key's status, and what "in 90 days" means.
        interactive: Whether somebody can be asked.
        url: `--url`, which goes before the environment.
        server: `--server`, which does so, too.
        plain_http: `--plain-http`: the token may be sent without TLS.
        env_files: `--env-file`: files that stand in for the environment.
        config: `--config`: a TOML file that does.
        as_json: `--json`: machine-readable output.
    """

    environ: Mapping[str, str] = field(repr=False)
    open_keys: Callable[[Settings], APIKeys] = APIKeys.from_settings
    reach: Callable[[Address], Transport] = HTTPTransport
    clock: Clock = field(default_factory=SystemClock)
    interactive: Callable[[], bool] = at_a_terminal
    url: str | None = None
    server: str | None = None
    plain_http: bool = False
    env_files: tuple[Path, ...] = ()
    config: Path | None = None
    as_json: bool = False

    def settings(self) -> Settings:
        """Return the settings of the keys, with `--url` on top.

        Raises:
            ConfigurationError: A variable that cannot be read, or that does not exist.
        """
        return read_settings(self.environ, self.sources())

    def configuration(self) -> Configuration:
        """Return all that is configured in the environment and in files, with `--url` on top.

        Raises:
            ConfigurationError: A file or a variable that cannot be read, or a variable that does not exist.
        """
        return read_configuration(self.environ, self.sources())

    def sources(self, options: Mapping[str, str | None] | None = None) -> Sources:
        """Return where settings are written beside the environment: files, `--url` and `--server`.

        Args:
            options: More options than these two: texts by the names of the settings, None where one is not given.
        """
        overrides = {
            PREFIX + name: Given(text, f"--{name.lower().replace('_', '-')}")
            for name, text in {"URL": self.url, "SERVER": self.server, **(options or {})}.items()
            if text is not None
        }
        return Sources(env_files=self.env_files, config=self.config, overrides=overrides)

    def address(self) -> Address | None:
        """Return the server that is to be asked; None: commands work on the store itself.

        Raises:
            UsageError: Both are named.
            ConfigurationError: The environment names both, or the URL of the server cannot be used.
        """
        if self.url is not None:
            if self.server is not None:
                raise click.UsageError("give --url, for the store itself, or --server, not both")
            return None
        client, places = read_client(self.environ, self.sources())
        if not client.server:
            return None
        if self.server is None and "URL" in places:
            raise ConfigurationError(
                f"{places['SERVER']} and {places['URL']} name two places to work on: leave one of them out, or say "
                "which with --server or --url"
            )
        return address_of(client.server, plain_http=self.plain_http)

    def token(self) -> str:
        """Return the token for a server, asking whoever is at the terminal where there is none.

        Raises:
            ConfigurationError: There is none, and nobody to ask.
        """
        token = read_client(self.environ, self.sources())[0].token
        if not token and not self.interactive():
            raise ConfigurationError(f"a server needs to know who asks: set {PREFIX}TOKEN to an API key that manages")
        return token or click.prompt("Token", hide_input=True, err=True)

    def run(self, work: Callable[[Desk], Awaitable[T]], *, create: bool = False) -> T:
        """Do `work` on the store, or through a server, and return its result.

        Args:
            work: Called once, in an event loop of its own.
            create: Whether a store may be brought into being, or migrated; a server sees to its own.

        Raises:
            APIKeyError: As `work` does, or the store or the server cannot be reached.
        """
        address = self.address()
        if address is not None:
            desk = ServerDesk(RemoteKeys(self.reach(address), self.token), clock=self.clock)
            return anyio.run(work, desk)
        environment = self.settings().environment
        return self.run_here(
            lambda keys: work(StoreDesk(keys, environment=environment, clock=self.clock)), create=create
        )

    def run_here(self, work: Callable[[APIKeys], Awaitable[T]], *, create: bool = False) -> T:
        """Do `work` on the opened keys, close them, and return its result.

        Args:
            work: Called once, in an event loop of its own.
            create: Whether a store may be brought into being, or migrated.

        Raises:
            UsageError: A server is to be asked, which does not have this verb.
            ConfigurationError: The settings cannot be used.
            StoreUnavailable: The store is not there, or does not answer.
        """
        if self.address() is not None:
            raise click.UsageError("this works on the store itself and not through a server: give --url")
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
