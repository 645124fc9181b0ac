"""What was written where: texts by the name of their setting, each with the place that a message can point to."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

from asgi_apikey.dotenv import assignments
from asgi_apikey.errors import ConfigurationError
from asgi_apikey.models import Seconds

W = TypeVar("W", bound=str)

PREFIX: Final = "ASGI_APIKEY_"
"""What the names of all our environment variables start with."""


@dataclass(frozen=True, slots=True)
class Given:
    """One text.

    Attributes:
        text: As it was written; it may be a secret, so it is not in the repr.
        place: Where it was written: the variable, or the name in a file.
    """

    text: str = field(repr=False)
    place: str


def from_environ(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what an environment holds, by the whole name of the variable."""
    return {name: Given(text, name) for name, text in environ.items()}


def from_dotenv(text: str, *, source: str) -> dict[str, Given]:
    """Return what a `.env` file holds, as an environment would.

    Raises:
        ConfigurationError: A line that is no assignment, or a name twice.
    """
    entries: dict[str, Given] = {}
    for each in assignments(text, source=source):
        if each.name in entries:
            raise ConfigurationError(f"{each.where}: {each.name} stands in it twice")
        entries[each.name] = Given(each.value, f"{each.name} in {source}")
    return entries


def from_toml(text: str, *, source: str) -> dict[str, Given]:
    """Return what a TOML file holds: `cache_ttl = 5` is the variable `ASGI_APIKEY_CACHE_TTL`.

    Lists are for what a variable separates by spaces; true and false are 1 and 0.

    Raises:
        ConfigurationError: It is not TOML, has tables, or a value of another kind. No value is repeated.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Not chained: the message may repeat a piece of a secret.
        raise ConfigurationError(f"{source} is not TOML; write lines such as: url = 'sqlite:///keys.db'") from None
    return {
        PREFIX + name.upper(): Given(_written(value, f"{name} in {source}"), f"{name} in {source}")
        for name, value in document.items()
    }


def _written(value: object, place: str) -> str:
    """Return a TOML value as a variable would hold it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(each, str) and each and not each.split()[1:] for each in value):
        return " ".join(value)
    raise ConfigurationError(f"{place} must be text, a number, true, false, or a list of texts without blanks in them")


def own(given: Mapping[str, Given], known: Collection[str], secrets: Collection[str]) -> dict[str, Given]:
    """Return our own settings by their names without the prefix; empty ones count as absent.

    Args:
        given: By the whole names of the variables.
        known: Names that exist, without the prefix.
        secrets: Those of them that must not be empty.

    Raises:
        ConfigurationError: One of ours with an unknown name, or a secret that is empty.
    """
    ours = {name.removeprefix(PREFIX): each for name, each in given.items() if name.startswith(PREFIX)}
    for name, each in sorted(ours.items()):
        if name not in known:
            listed = ", ".join(sorted(PREFIX + name for name in known))
            raise ConfigurationError(f"unknown variable {each.place}; there are {listed}")
        if name in secrets and not each.text.strip():
            raise ConfigurationError(f"{each.place} is there and empty, as when a secret was not delivered; unset it")
    return {name: each for name, each in ours.items() if each.text}


class Reader:
    """Reads texts as what they have to be.

    Every method returns its default where nothing is given, and raises ConfigurationError, naming the place and never
    the text, where something else is.

    Args:
        given: By the names of the settings, without the prefix.
    """

    def __init__(self, given: Mapping[str, Given]) -> None:
        self._given = given

    def text(self, name: str, default: str = "") -> str:
        """Return a text as it is."""
        return self._given[name].text if name in self._given else default

    def words(self, name: str) -> tuple[str, ...]:
        """Return texts separated by blanks."""
        return tuple(self.text(name).split())

    def seconds(self, name: str, *, zero: bool = False) -> Seconds | None:
        """Return a positive number of seconds; with `zero`, 0 too."""
        if name not in self._given:
            return None
        try:
            seconds = float(self.text(name))
        except ValueError:
            seconds = math.nan
        # Against NaN or infinity no verdict would ever be too old.
        if not (0 < seconds < math.inf or (zero and seconds == 0)):
            raise self._wrong(name, "a positive number of seconds" + (", or 0" if zero else ""))
        return seconds

    def number(self, name: str, least: int, most: int) -> int | None:
        """Return a whole number in a range."""
        if name not in self._given:
            return None
        text = self.text(name)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise self._wrong(name, f"a whole number, {least} to {most}")
        return int(text)

    def switch(self, name: str) -> bool | None:
        """Return whether it is on."""
        if name not in self._given:
            return None
        if self.text(name) not in {"0", "1"}:
            raise self._wrong(name, "1 or 0")
        return self.text(name) == "1"

    def word(self, name: str, words: Collection[W], default: W) -> W:
        """Return one of the words."""
        for each in words:
            if self.text(name, default) == each:
                return each
        raise self._wrong(name, f"one of {', '.join(words)}")

    def _wrong(self, name: str, expected: str) -> ConfigurationError:
        return ConfigurationError(f"{self._given[name].place} must be {expected}")
