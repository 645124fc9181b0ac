"""Commands that move keys between stores: digests, never keys."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.progress import Bar
from asgi_apikey.cli.session import Session
from asgi_apikey.models import Actor, JSONValue
from asgi_apikey.transfer import ImportProgress

_EVERY = 1_000


@click.command("export")
@shared_options
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file. Default: the screen.",
)
@click.option("--resume", is_flag=True, help="Go on where an interrupted export to the same --output has ended.")
@click.pass_obj
def export(session: Session, output: Path | None, resume: bool) -> None:
    """Write every key as a line of JSON: its record and its digest, never the key itself.

    Whoever has the file and the pepper can test guesses, which is hopeless against our keys; still, keep it as the
    database is kept.
    """
    if output is None and sys.stdout is None:
        raise click.UsageError("standard output is closed: give --output")
    if resume and output is None:
        raise click.UsageError("--resume goes on with a file: give --output")
    if output is not None and output.exists() and not resume:
        raise click.UsageError(f"{output} is there already; give --resume to go on with it, or another name")
    exported, after = _exported(output) if output is not None and resume else (0, None)

    async def work(keys: APIKeys) -> int:
        count = exported
        with _to(output) as file, Bar(session, "exported") as bar:
            async for line in keys.export_lines(after=after, exported=exported):
                file.write(f"{line}\n")
                count += line.startswith('{"key_id"')
                if count % _EVERY == 0:
                    bar.show(count)
        return count

    count = session.run_here(work)
    if output is not None:
        _tell(session, {"exported": count}, f"{count:,} keys exported to {output}")


@click.command("import")
@shared_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--by", default="", help="Who imports, for the audit.")
@click.pass_obj
def import_(session: Session, file: Path, by: str) -> None:
    """Add the keys of an export that are not here; what is here is left as it is. May be repeated.

    An interrupted import goes on where it ended: a small file beside FILE, ending in `.cursor`, remembers the place.
    Exits 1 when another key has one of the ids, or the file was cut off.
    """
    size = file.stat().st_size
    cursor = Path(f"{file}.cursor")

    async def work(keys: APIKeys) -> ImportProgress:
        progress = _remembered(cursor, file)
        with file.open(encoding="utf-8") as lines, Bar(session, "lines read", total=size) as bar:
            async for reached in keys.import_lines(_counted(lines, bar), actor=Actor(by), start=progress):
                _remember(cursor, file, reached)
                bar.show(reached.lines)
                progress = reached
        return progress

    progress = session.run_here(work, create=True)
    cursor.unlink(missing_ok=True)
    _report(session, progress)
    if progress.conflicts or not progress.complete:
        sys.exit(1)


def _report(session: Session, progress: ImportProgress) -> None:
    fields_ = {name: value for name, value in asdict(progress).items() if name != "lines"}
    _tell(
        session,
        fields_,
        f"{progress.added:,} keys added, {progress.present:,} were here already, {progress.conflicts:,} in conflict",
    )
    if progress.conflicting:
        click.echo(f"another key has the id: {' '.join(progress.conflicting)}", err=True)
    if progress.unusable:
        click.echo(
            f"{progress.unusable:,} keys have digests that these settings cannot compare: give ASGI_APIKEY_PEPPER the "
            "peppers of the store that they come from",
            err=True,
        )
    if not progress.complete:
        click.echo("the file does not end with its last line: it was cut off, or is still being written", err=True)


def _tell(session: Session, document: Mapping[str, JSONValue], text: str) -> None:
    if session.as_json:
        write_json(document)
    else:
        click.echo(text)


def _counted(lines: IO[str], bar: Bar) -> Iterator[str]:
    for line in lines:
        bar.done += len(line)
        yield line


def _to(output: Path | None) -> AbstractContextManager[IO[str]]:
    """Return where to write to: an existing file is continued, standard output is left open."""
    if output is None:
        return nullcontext(sys.stdout)
    return open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8")


def _exported(output: Path) -> tuple[int, str | None]:
    """Return how many keys a file has, and the id of the last one; a line that was cut off is cut away.

    Raises:
        UsageError: It is not an export that was interrupted.
    """
    count, last, end = 0, None, 0
    if not output.exists():
        return 0, None
    with output.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            try:
                entry = json.loads(line)
                if "end" in entry:
                    raise click.UsageError(f"{output} is complete already")
                if "asgi_apikey" not in entry:
                    count, last = count + 1, str(entry["key_id"])
            except (ValueError, KeyError, TypeError) as error:
                raise click.UsageError(f"{output} is not an export") from error
        file.truncate(end)
    # A file with its first line only: "" comes before every id, and no second first line is written.
    return count, last if last is not None or end == 0 else ""


def _signature(file: Path) -> str:
    """Tell a file by its beginning, so that a place in another one is not taken for one in this."""
    with file.open("rb") as content:
        return hashlib.sha256(content.read(4_096)).hexdigest()


def _remember(cursor: Path, file: Path, progress: ImportProgress) -> None:
    """Write the place down; replaced as a whole, so that it is never half written."""
    new = cursor.with_name(f"{cursor.name}.new")
    new.write_text(json.dumps({"file": _signature(file), **asdict(progress)}), encoding="utf-8")
    new.replace(cursor)


def _remembered(cursor: Path, file: Path) -> ImportProgress:
    """Return where an earlier import has ended; the beginning, if there was none or it is not clear."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        entry = json.loads(cursor.read_text(encoding="utf-8"))
        if entry.pop("file") == _signature(file) and set(entry) == {each.name for each in fields(ImportProgress)}:
            return ImportProgress(**entry | {"conflicting": tuple(entry["conflicting"])})
    return ImportProgress()
