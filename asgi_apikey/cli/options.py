"""Options that every command takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from asgi_apikey.cli.session import Session

F = TypeVar("F", bound=Callable[..., object])

_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def shared_options(command: F) -> F:
    """Add the options that go to the session: they may stand before and after a command's name."""
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
    env_file = click.option(
        "--env-file",
        type=_FILE,
        multiple=True,
        expose_value=False,
        callback=_take_env_files,
        help="A .env file that stands in for variables that are not set; may be repeated.",
    )
    config = click.option(
        "--config",
        type=_FILE,
        expose_value=False,
        callback=_take_config,
        help="A TOML file that stands in for what is set in neither.",
    )
    return url(as_json(env_file(config(command))))


def served_options(command: F) -> F:
    """Add the shared options, and those of commands that also work through a server."""
    server = click.option(
        "--server",
        metavar="URL",
        expose_value=False,
        callback=_take_server,
        help="Work through this management API, such as https://keys.example; goes before ASGI_APIKEY_SERVER.",
    )
    plain_http = click.option(
        "--plain-http",
        is_flag=True,
        expose_value=False,
        callback=_take_plain_http,
        help="The token may go to another machine without TLS.",
    )
    return shared_options(server(plain_http(command)))


def _take_url(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        session_of(ctx).url = value


def _take_server(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        session_of(ctx).server = value


def _take_plain_http(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        session_of(ctx).plain_http = True


def _take_env_files(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    if value:
        session_of(ctx).env_files = value


def _take_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        session_of(ctx).config = value


def _take_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        session_of(ctx).as_json = True


def session_of(ctx: click.Context) -> Session:
    """Return the session that the command was started with."""
    session = ctx.find_object(Session)
    assert session is not None, "start it with obj=Session(...)"
    return session
