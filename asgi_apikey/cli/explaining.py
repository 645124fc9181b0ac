"""Why a presented key is accepted or not, stage by stage."""

from __future__ import annotations

import click

from asgi_apikey.apikeys import APIKeys
from asgi_apikey.cli.desk import Occasion
from asgi_apikey.cli.output import write_json
from asgi_apikey.cli.session import Session
from asgi_apikey.explainer import Explanation


def explained(session: Session, presented: bytes, occasion: Occasion) -> bool:
    """Write what each stage of the decision comes to; return whether the key is accepted.

    Raises:
        UsageError: A server is to be asked: why a key is rejected is told nobody over a network.
    """

    async def work(keys: APIKeys) -> Explanation:
        return await keys.explain(
            presented,
            method=occasion.method,
            path=occasion.path,
            address=occasion.address,
            origin=occasion.origin,
            scopes=occasion.scopes,
        )

    explanation = session.run_here(work)
    if session.as_json:
        stages = [{"name": each.name, "decision": each.decision, "detail": each.detail} for each in explanation.stages]
        write_json({"accepted": explanation.accepted, "key_id": explanation.key_id, "stages": stages})
    else:
        click.echo(str(explanation))
    return explanation.accepted
