"""Commands about webhooks: make a secret; list, send again and drop the messages that nobody has taken."""

from __future__ import annotations

from collections.abc import Sequence

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.asking import ask_consent, check_consent
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import rfc3339, write_json, write_table
from asgi_apikey.cli.session import Session
from asgi_apikey.models import DeadLetter, JSONValue
from asgi_apikey.webhooks.signing import new_secret

_HEADINGS = ("ID", "EVENT", "SINCE", "ATTEMPTS", "REASON")
_PAGE = 1_000


@click.group()
@shared_options
def webhooks() -> None:
    """Make a webhook's secret; look after messages that no endpoint has taken."""


@webhooks.command()
@shared_options
@click.pass_obj
def secret(session: Session) -> None:
    """Print a new secret, by which a receiver knows that a message is from here."""
    made = new_secret()
    if session.as_json:
        write_json({"secret": made})
    else:
        click.echo(made)


@webhooks.command("list")
@shared_options
@click.pass_obj
def list_letters(session: Session) -> None:
    """List the messages that nobody has taken. What they say is in --json."""
    letters = session.run_here(_letters)
    if session.as_json:
        write_json({"messages": [_fields(each) for each in letters]})
    elif letters:
        write_table(_HEADINGS, [_row(each) for each in letters])


@webhooks.command()
@shared_options
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.pass_context
def redeliver(ctx: click.Context, ids: Sequence[str]) -> None:
    """Send these messages again, or all, once each; the exit code is 1 if one was not taken.

    They have the ids of the first time, so a receiver that has got one already knows it.
    """
    session = ctx.find_object(Session)
    assert session is not None, "start it with obj=Session(...)"
    taken, failed = session.run_here(lambda keys: keys.redeliver(ids or None))
    if session.as_json:
        write_json({"delivered": taken, "failed": failed})
    else:
        click.echo(f"{taken} delivered, {failed} failed")
    ctx.exit(1 if failed else 0)


@webhooks.command()
@shared_options
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where there is no terminal.")
@click.pass_obj
def drop(session: Session, ids: Sequence[str], yes: bool) -> None:
    """Remove messages that need not be sent any more."""
    check_consent(session, yes=yes)
    if not yes:
        ask_consent(f"This removes {len(ids)} messages, which are then never sent. Drop?", yes=yes)
    dropped = session.run_here(lambda keys: keys.dead_letters.remove(ids))
    if session.as_json:
        write_json({"dropped": dropped})
    else:
        click.echo(f"{dropped} dropped")


async def _letters(keys: APIKeys) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    after = ""
    while page := await keys.dead_letters.page(after, limit=_PAGE):
        found += page
        after = page[-1].letter_id
    return found


def _row(letter: DeadLetter) -> tuple[str, ...]:
    return letter.letter_id, letter.event, rfc3339(letter.at) or "", str(letter.attempts), letter.reason


def _fields(letter: DeadLetter) -> dict[str, JSONValue]:
    return {
        "id": letter.letter_id,
        "endpoint": letter.endpoint,
        "event": letter.event,
        "body": letter.body,
        "at": rfc3339(letter.at),
        "attempts": letter.attempts,
        "reason": letter.reason,
    }
