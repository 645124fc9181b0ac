"""Progress of long work."""

from __future__ import annotations

import sys

import click

from asgi_apikey.cli.session import Session


class Bar:
    """Progress on standard error, where that is a terminal and nobody asked for JSON."""

    def __init__(self, session: Session, what: str, *, total: int = 0) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty() and not session.as_json
        self._what = what
        self._total = total
        self.done = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo("\r\033[K", nl=False, err=True)

    def show(self, count: int) -> None:
        """Show how many; and where the total is known, how much of it is done."""
        if not self._shown:
            return
        share = min(1.0, self.done / self._total) if self._total else 0.0
        bar = f"[{'#' * round(share * 30):30}] {share:4.0%}  " if self._total else ""
        click.echo(f"\r\033[K{bar}{count:,} {self._what}", nl=False, err=True)
