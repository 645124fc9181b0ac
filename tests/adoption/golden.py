"""Recorded keys and rows, no code: made by the real systems or, where `made_by` says so, by their recipe."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from asgi_apikey.adopted.catalogue import table_of
from asgi_apikey.adopted.rows import Row
from asgi_apikey.adopted.systems import ForeignSystem, Terms
from asgi_apikey.models import KeyRecord

FOLDER: Final = Path(__file__).parent / "golden"
NOW: Final = 1_800_000_000.0
TERMS: Final = Terms(now=NOW, environment="live", owner="acme")


@dataclass(frozen=True)
class Golden:
    """What one system has made with one of its schemes.

    Attributes:
        system: Its name.
        made_by: Its version.
        scheme: How it hashes.
        pepper: Its pepper, if it has one.
        schema: Statements that make its table in SQLite.
        rows: Of its table.
        keys: Whole keys, by what has become of them there.
    """

    system: str
    made_by: str
    scheme: str
    pepper: str
    schema: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    keys: Mapping[str, str]

    def records(self) -> list[KeyRecord]:
        """The records that its rows become."""
        return [table_of(self.system).take(Row(each), TERMS) for each in self.rows]

    def record(self, system: ForeignSystem, label: str) -> KeyRecord:
        """The record of one of its keys."""
        key_id = system.shape.key_id(self.keys[label].encode())
        return next(each for each in self.records() if each.key_id == key_id)

    def database(self, path: Path) -> Path:
        """Make its database anew, as a file of SQLite."""
        with sqlite3.connect(path) as made:
            for statement in self.schema:
                made.execute(statement)
            for row in self.rows:
                places = ", ".join("?" * len(row))
                names = ", ".join(f'"{each}"' for each in row)
                made.execute(f'INSERT INTO "{table_of(self.system).name}" ({names}) VALUES ({places})', [*row.values()])
        made.close()
        return path


def recorded() -> list[Golden]:
    """All there is."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))]
    return [
        Golden(
            system=file["system"],
            made_by=file["made_by"],
            scheme=each["scheme"],
            pepper=file.get("pepper", ""),
            schema=tuple(each["schema"]),
            rows=tuple(each["rows"]),
            keys=each["keys"],
        )
        for file in files
        for each in file["sets"]
    ]


GOLDEN: Final = recorded()


def named(golden: Golden) -> str:
    """What a test calls it."""
    return f"{golden.made_by} {golden.scheme}".replace(" ", "-")
