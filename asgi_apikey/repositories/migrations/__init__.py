"""The schema's history: numbered SQL files, one folder per dialect.

A released file never changes; the next change of the schema is the next number.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from asgi_apikey.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema.

    Attributes:
        number: The schema's version after this step, counted from 1.
        statements: Its SQL, one statement each.
    """

    number: int
    statements: tuple[str, ...]


def migrations(dialect: str) -> tuple[Migration, ...]:
    """Return every step of a dialect, oldest first."""
    folder = files(__name__).joinpath(dialect)
    scripts = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(Migration(int(name[:4]), _statements(entry.read_text("utf-8"))) for name, entry in scripts)


def pending(steps: tuple[Migration, ...], version: int) -> tuple[Migration, ...]:
    """Return the steps that a database at `version` lacks (0: an empty one).

    Raises:
        ConfigurationError: The database is ahead of this version of the package.
    """
    newest = steps[-1].number
    if version > newest:
        raise ConfigurationError(
            f"the key store has schema {version}, this version of asgi-apikey knows {newest}: "
            "upgrade asgi-apikey here too, or restore the store as it was before the upgrade"
        )
    return steps[version:]


def _statements(script: str) -> tuple[str, ...]:
    """Split at each `;` that ends a line: our own files keep to that, so no SQL parser is needed."""
    code = "\n".join(line.rstrip() for line in script.splitlines() if not line.lstrip().startswith("--"))
    return tuple(each.strip() for each in f"{code}\n".split(";\n") if each.strip())
