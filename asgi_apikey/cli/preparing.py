"""Before the first key: the store, and a pepper."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.hashers.peppers import new_pepper


@click.command()
@shared_options
@click.pass_obj
def init(session: Session) -> None:
    """Create the key store, or bring it up to this version. May be repeated."""

    async def nothing_more(keys: APIKeys) -> None:
        """Opening is all there is to do."""

    session.run_here(nothing_more, create=True)
    if session.as_json:
        write_json({"ready": True})
    else:
        click.echo("the key store is ready")


@click.command()
@shared_options
@click.pass_obj
def pepper(session: Session) -> None:
    """Print a new pepper, good for ASGI_APIKEY_PEPPER and for ASGI_APIKEY_CHECKSUM_KEY; use each once.

    Keep it apart from the database: it is what makes a stolen database useless. Without it no key works any more.
    """
    if session.as_json:
        write_json({"pepper": new_pepper()})
    else:
        click.echo(new_pepper())
