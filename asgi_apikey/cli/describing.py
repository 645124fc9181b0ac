"""`openapi`: the management API as a document for programs."""

from __future__ import annotations

import json

import click

from asgi_apikey.cli.options import shared_options


@click.command()
@shared_options
@click.option("--server", default="/", show_default=True, metavar="PATH", help="Where the API is mounted: path or URL.")
def openapi(server: str) -> None:
    """Print the OpenAPI 3.1 description of the management API, the same that it serves.

    Needs neither a store nor a setting. For API keys and tokens in the usual places.
    """
    # Here, not at the top: the command line is installed without the management API's libraries.
    from asgi_apikey.management.openapi import openapi_document

    click.echo(json.dumps(openapi_document(server=server), indent=2, ensure_ascii=False))
