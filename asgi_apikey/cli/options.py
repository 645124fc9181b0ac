"""Options that every command takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from asgi_apikey.cli.session import Session

F = TypeVar("F", bound=Callable[..., object])


def shared_options(command: F) -> F:
    """Add `--url` and `--json`, which go to the session: they may stand before and after a command's name."""
    url = click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=_take_url,
        help="Where the keys live, such as sqlite:///keys.db; goes before ASGI_APIKEY_URL.",
    )
    as_json = click.option(
        "--json", is_flag=True, expose_value=False, callback=_take_json, help="Machine-readable output."
    )
    return url(as_json(command))


def _take_url(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        session_of(ctx).url = value


def _take_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        session_of(ctx).as_json = True


def session_of(ctx: click.Context) -> Session:
    """Return the session that the command was started with."""
    session = ctx.find_object(Session)
    assert session is not None, "start it with obj=Session(...)"
    return session
