"""All that is configured, from everywhere it may be written: environment, `.env` files, a TOML file.

What is named first wins: the environment over `.env` files, those over the TOML file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from asgi_apikey.errors import ConfigurationError
from asgi_apikey.settings.aliases import with_aliases
from asgi_apikey.settings.client import ClientSettings
from asgi_apikey.settings.given import PREFIX, Given, from_dotenv, from_environ, from_toml, own
from asgi_apikey.settings.keys import Settings
from asgi_apikey.settings.names import SECRETS, VARIABLES
from asgi_apikey.settings.service import ServiceSettings

CONFIG: Final = PREFIX + "CONFIG"
ENV_FILE: Final = PREFIX + "ENV_FILE"
"""Where the files are; of no meaning in the files."""
NOTHING: Final[Mapping[str, Given]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that a service is told.

    Attributes:
        keys: For the keys.
        service: For the service.
        places: By the names of the settings that were given, where each was written.
        notes: What is to be said about aliases: no errors.
    """

    keys: Settings = field(default_factory=Settings)
    service: ServiceSettings = field(default_factory=ServiceSettings)
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where settings are written, for processes that read them and for those that they start.

    Attributes:
        env_files: `.env` files; the first that names a variable wins.
        config: A TOML file.
        overrides: What goes before all others, by the whole names of the variables: the options of a command.
    """

    env_files: tuple[Path, ...] = ()
    config: Path | None = None
    overrides: Mapping[str, Given] = field(default_factory=dict)

    def given(self, environ: Mapping[str, str]) -> dict[str, Given]:
        """Return what an environment and the files hold, but for the overrides, by the whole names of the variables.

        The environment may name the files, where nobody else has: `ASGI_APIKEY_ENV_FILE` (several as in PATH),
        `ASGI_APIKEY_CONFIG`.

        Raises:
            ConfigurationError: A file cannot be read.
        """
        rest = {name: text for name, text in environ.items() if name not in (CONFIG, ENV_FILE)}
        env_files = self.env_files or [Path(each) for each in environ.get(ENV_FILE, "").split(os.pathsep) if each]
        config = self.config or (Path(environ[CONFIG]) if environ.get(CONFIG) else None)
        sources = [from_environ(rest)]
        sources += [from_dotenv(_text(path), source=path.name) for path in env_files]
        sources += [] if config is None else [from_toml(_text(config), source=config.name)]
        return _merged(sources)


NOWHERE_ELSE: Final = Sources()


def configuration(
    given: Mapping[str, Given], *, aliases: bool = True, overrides: Mapping[str, Given] = NOTHING
) -> Configuration:
    """Return the configuration that texts make.

    Args:
        given: By the whole names of the variables.
        aliases: Whether variables of earlier systems are read, too.
        overrides: What goes before all that, aliases included; as `given`.

    Raises:
        ConfigurationError: One of the texts cannot be read, two contradict each other, or a name of ours is unknown.
    """
    given, notes = with_aliases(given) if aliases else (given, ())
    ours = _own(given, overrides)
    keys, service = Settings.from_given(ours), ServiceSettings.from_given(ours)
    if service.workers > 1 and (keys.single_process or keys.url.partition(":")[0] == "memory"):
        raise ConfigurationError(
            f"{PREFIX}WORKERS={service.workers} are several processes, and {PREFIX}SINGLE_PROCESS=1 or memory: is for "
            "one: a revoke would reach one of them"
        )
    places = {name: each.place for name, each in ours.items()}
    return Configuration(keys=keys, service=service, places=places, notes=notes)


def read_configuration(environ: Mapping[str, str], sources: Sources = NOWHERE_ELSE) -> Configuration:
    """Return the configuration that an environment and files make, aliases included.

    Args:
        environ: Such as `os.environ`.
        sources: Where else something is written.

    Raises:
        ConfigurationError: A file cannot be read, or as `configuration` does.
    """
    return configuration(sources.given(environ), overrides=sources.overrides)


def read_settings(environ: Mapping[str, str], sources: Sources = NOWHERE_ELSE) -> Settings:
    """Return the settings of the keys alone, as `read_configuration` would, for who starts no service.

    What is wrong with the service's settings is of no account: a `JWT_SECRET` may be that of another application.

    Raises:
        ConfigurationError: As there, about the keys.
    """
    given, _ = with_aliases(sources.given(environ))
    return Settings.from_given(_own(given, sources.overrides))


def read_client(
    environ: Mapping[str, str], sources: Sources = NOWHERE_ELSE
) -> tuple[ClientSettings, Mapping[str, str]]:
    """Return what commands need that work through a server; and where `SERVER` and `URL` are written, if they are.

    Raises:
        ConfigurationError: As `read_configuration` does, but for values of other settings.
    """
    given, _ = with_aliases(sources.given(environ))
    ours = _own(given, sources.overrides)
    return ClientSettings.from_given(ours), {name: ours[name].place for name in ("SERVER", "URL") if name in ours}


def _own(given: Mapping[str, Given], overrides: Mapping[str, Given]) -> dict[str, Given]:
    return own({**given, **overrides}, VARIABLES, SECRETS)


def _merged(sources: Iterable[Mapping[str, Given]]) -> dict[str, Given]:
    """Return what all sources hold; of two, the first that is not empty."""
    result: dict[str, Given] = {}
    for source in sources:
        for name, each in source.items():
            if name not in result or not result[name].text:
                result[name] = each
    return result


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        # Not the decoder's own words: they repeat a piece of the file.
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigurationError(f"{path.name} cannot be read: {why}") from None
