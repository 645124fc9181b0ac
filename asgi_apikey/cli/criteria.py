"""Which keys a command is about, told by what they are like: the filters of `list`, and of revoking many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import click

from asgi_apikey.cli import values
from asgi_apikey.models import Criteria, Status

F = TypeVar("F", bound=Callable[..., object])


def _instant(name: str, *more: str, help: str) -> Callable[[F], F]:
    return click.option(name, *more, type=values.instant, metavar="INSTANT", help=help)


_FILTERS = (
    click.option("--owner", help="Only this owner's keys."),
    click.option("--tenant", help='Only this tenant\'s keys; "" is the default tenant.'),
    click.option("--environment", help="Only keys of this environment."),
    click.option(
        "--status", type=click.Choice([each.value for each in Status]), help="Only keys that stand like this now."
    ),
    click.option("--created-by", help="Only keys that this one asked for."),
    click.option("--lineage", type=values.key_id, help="Only keys that go back, by rotation, to this first one."),
    click.option("--name", help="Only keys with this very name."),
    click.option("--name-contains", metavar="TEXT", help="Only keys with this in their name."),
    click.option("--tag", "tags", multiple=True, help="Only keys with this tag; repeated, with all of them."),
    click.option("--scope", "scopes", multiple=True, help="Only keys that may do this; repeated, all of it."),
    click.option("--any-scope", "any_scopes", multiple=True, help="Only keys that may do at least one of these."),
    _instant("--created-after", help="Only keys made at 2027-01-31T00:00:00Z or later."),
    _instant("--created-before", help="Only keys made earlier."),
    _instant("--expires-after", help="Only keys that end then or later, not those without an end."),
    _instant("--expires-before", help="Only keys that end earlier."),
    _instant("--used-after", "last_used_after", help="Only keys last used then or later."),
    _instant("--used-before", "last_used_before", help="Only keys last used earlier."),
    click.option("--never-used", is_flag=True, default=None, help="Only keys that were never used."),
    click.option("--endless", is_flag=True, default=None, help="Only keys without an end."),
    click.option("--idle-for", type=values.duration, metavar="DURATION", help="Only keys not used for: 90d, 12h."),
)


def criteria_options(command: F) -> F:
    """Add the filters; the command takes them as keyword arguments, and `criteria_of` makes them criteria."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def criteria_of(options: Mapping[str, object]) -> Criteria:
    """Return those of the filters that were given. An empty text is given: it names the default tenant."""
    given = {name: value for name, value in options.items() if value is not None and value != ()}
    return cast(Criteria, given)  # the options above have the names and types of the criteria
