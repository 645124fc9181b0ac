"""`doctor`: what is configured, what answers, and what may not be as it should."""

from __future__ import annotations

import anyio
import click

from asgi_apikey.cli.options import shared_options
from asgi_apikey.cli.output import write_fields, write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.models import JSONValue
from asgi_apikey.service.diagnosis import diagnosed, memory_limit
from asgi_apikey.service.findings import Finding, as_json, exit_code_of, shown


@click.command()
@shared_options
@click.pass_obj
def doctor(session: Session) -> None:
    """Look into everything that `serve` with the same settings would use, without changing any of it.

    Secrets are shown as present or absent, with an id by which two machines can be compared. Exits 0 when all is well
    or only warned of, 3 when something does not answer, 4 when the configuration is wrong.
    """
    configuration = session.configuration()

    async def look() -> tuple[Finding, ...]:
        return await diagnosed(configuration, limit=memory_limit())

    findings, settings = anyio.run(look), shown(configuration)
    if session.as_json:
        write_json(as_json(settings, findings))
    else:
        _write(settings, findings)
    raise SystemExit(exit_code_of(findings))


def _write(settings: dict[str, JSONValue], findings: tuple[Finding, ...]) -> None:
    write_fields(settings)
    click.echo()
    topics = max(len(each.topic) for each in findings)
    for each in findings:
        click.echo(f"{each.level.value:11}  {each.topic:{topics}}  {' '.join(each.text.split())}")
