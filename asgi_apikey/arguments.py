"""What constructors are given: an argument of the wrong kind is refused at once, by its name, with what to write.

Types are hints to Python, and settings come from files and environments, where every value is a text. Arguments that
may be None go through `present` first.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from asgi_apikey.errors import ConfigurationError


def present(**arguments: object) -> dict[str, object]:
    """Return the arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


def check_flags(**flags: object) -> None:
    """Check that switches are switches.

    Raises:
        ConfigurationError: One is something else: `"false"` would be true.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigurationError(
                f"{name}={value!r} is neither True nor False; any text, 'false' too, would be true"
            )


def check_texts(**texts: object) -> None:
    """Check that texts are texts.

    Raises:
        ConfigurationError: One is something else.
    """
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"{name} is a {type(value).__name__}; it must be a string")


def check_numbers(**numbers: object) -> None:
    """Check that numbers are numbers; a truth value, which Python counts among them, was meant for another argument.

    Raises:
        ConfigurationError: One is something else.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigurationError(f"{name}={value!r} is not a number; write {name}=60, without quotes")


def check_positive(**durations: object) -> None:
    """Check that durations are finite numbers of seconds above 0.

    Raises:
        ConfigurationError: One is not.
    """
    check_numbers(**durations)
    for name, value in durations.items():
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigurationError(f"{name}={value!r} must be a positive, finite number of seconds")


def check_counts(**counts: object) -> None:
    """Check that counts are whole numbers.

    Raises:
        ConfigurationError: One is something else.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigurationError(f"{name}={value!r} is not a whole number; write {name}=100, without quotes")


def check_parts(**parts: tuple[object, str]) -> None:
    """Check that parts have the method that will be called on them first.

    Args:
        parts: Each argument and the name of that method.

    Raises:
        ConfigurationError: One has not, as when a class is given for an instance of another protocol.
    """
    for name, (part, method) in parts.items():
        if part is not None and not callable(getattr(part, method, None)):
            raise ConfigurationError(f"{name} is a {type(part).__name__}, which has no method {method!r}")


def check_values(**values: tuple[object, type]) -> None:
    """Check that values are instances of their class.

    Args:
        values: Each argument and the class.

    Raises:
        ConfigurationError: One is not.
    """
    for name, (value, kind) in values.items():
        if value is not None and not isinstance(value, kind):
            raise ConfigurationError(f"{name} is a {type(value).__name__}; write {name}={kind.__name__}(…)")


def check_lists(**lists: tuple[object, type]) -> None:
    """Check that lists hold instances of one class.

    Args:
        lists: Each argument and the class.

    Raises:
        ConfigurationError: One is no list, or holds something else.
    """
    for name, (values, kind) in lists.items():
        if not isinstance(values, list | tuple) or not all(isinstance(each, kind) for each in values):
            raise ConfigurationError(f"{name} must be a list of {kind.__name__}(…)")


def check_secrets(**secrets: object) -> None:
    """Check that secrets are texts or bytes, or rings of them. None of them is shown.

    Raises:
        ConfigurationError: One is not.
    """
    for name, value in secrets.items():
        ring = [value] if isinstance(value, str | bytes) else value
        if not isinstance(ring, Collection) or not all(isinstance(each, str | bytes) for each in ring):
            raise ConfigurationError(f"{name} must be a secret, str or bytes, or a list of them, newest last")
