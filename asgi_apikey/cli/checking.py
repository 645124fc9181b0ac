"""Finding keys in any text, offline: what each says about itself, and whether its checksum is right."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import click

from asgi_apikey.cli.asking import presented_key
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.keyformat import HINT_LENGTH, KeyFormat


@dataclass(frozen=True, slots=True)
class Sighting:
    """A key, or what has the shape of one, in a text; never the key itself.

    Attributes:
        line: Counted from 1.
        checksum: `ok`; `wrong`: mistyped or made up; `not_compared`: its checksum key is not configured here.
    """

    line: int
    prefix: str
    environment: str
    key_id: str
    version: str
    hint: str
    checksum: str

    @property
    def masked(self) -> str:
        """The key as `KeyFormat.mask` shows it."""
        return f"{self.prefix}_{self.environment}_{self.key_id}_…{self.hint}"


@click.command("check-format")
@shared_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True), default="-")
@click.pass_obj
def check_format(session: Session, file: str) -> None:
    """Find keys in FILE or standard input and say what they say about themselves. Needs no store.

    Keys of the prefix in ASGI_APIKEY_PREFIX are found in any text: logs, configurations, a key alone. A right
    checksum means that a key is well formed, not that it works. Exits 1 when there is none, or one whose checksum
    is wrong.
    """
    settings = session.settings()
    key_format = KeyFormat(settings.prefix, checksum_keys=settings.checksum_keys)
    sightings = list(sightings_in(_lines(session, file), key_format))
    if session.as_json:
        write_json({"keys": [asdict(each) for each in sightings]})
    for each in () if session.as_json else sightings:
        click.echo(f"line {each.line}: {each.masked}  version {each.version}, checksum {_IN_WORDS[each.checksum]}")
    if not sightings and not session.as_json:
        click.echo(f"no key with the prefix {settings.prefix!r} found", err=True)
    sys.exit(0 if sightings and all(each.checksum != "wrong" for each in sightings) else 1)


def _lines(session: Session, file: str) -> Iterator[str]:
    """Yield the text; of a terminal, one key that is not shown while it is pasted."""
    if file == "-" and session.interactive():
        yield presented_key(session).decode(errors="replace")
        return
    if file == "-" and sys.stdin is None:
        raise click.UsageError("standard input is closed; name a file")
    with click.open_file(file, encoding="utf-8", errors="replace") as text:
        yield from text


def sightings_in(lines: Iterable[str], key_format: KeyFormat) -> Iterator[Sighting]:
    """Yield what is found in each line, left to right: keys, and lookalikes of which no key is a part."""
    # `find` passes over lookalikes: in a log they are noise. Who checks a key wants to hear that it is mistyped.
    lookalike = re.compile(f"{key_format.regex}(?![0-9A-Za-z])")
    for number, line in enumerate(lines, 1):
        found = list(key_format.find(line))
        sightings = {
            key.start: Sighting(
                line=number,
                prefix=key_format.prefix,
                environment=key.environment,
                key_id=key.key_id,
                version=key.version,
                hint=key.hint,
                checksum="ok" if key.checked else "not_compared",
            )
            for key in found
        }
        for match in lookalike.finditer(line):
            if any(key.start < match.end() and match.start() < key.end for key in found):
                continue
            _, environment, key_id, tail = match[0].rsplit("_", 3)
            sightings[match.start()] = Sighting(
                number, key_format.prefix, environment, key_id, tail[0], tail[-HINT_LENGTH:], "wrong"
            )
        yield from (sightings[start] for start in sorted(sightings))


_IN_WORDS = {"ok": "ok", "wrong": "wrong", "not_compared": "not compared: its checksum key is not configured"}
