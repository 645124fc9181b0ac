"""Why a middleware lets a request in or not, stage by stage: for operators, in a shell or a test, never over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol, cast

from asgi_apikey.asgi.restrict import Boundary, method_of, origin_of, plain_path
from asgi_apikey.asgi.types import Scope
from asgi_apikey.errors import AuthenticationError, ConfigurationError
from asgi_apikey.explainer import STAGES, Decision, Explanation, Stage

_REST = tuple(Stage(name, Decision.NOT_REACHED) for name in STAGES)


class _Explaining(Protocol):
    async def explain(
        self,
        presented: bytes,
        *,
        method: str,
        path: str | None,
        address: str | None,
        origin: str | None,
        scopes: Collection[str],
    ) -> Explanation: ...


async def explained(
    scope: Scope, find: Callable[[], bytes | None], *, keys: object, boundary: Boundary, scopes: frozenset[str]
) -> Explanation:
    """Return the stage `found`, which says whether there is one credential, and those of its key.

    Args:
        scope: The request's.
        find: Returns its credential, and raises where there is not one.
        keys: Who knows about it.
        boundary: Knows whom the request is from, and what is only reported.
        scopes: What it needs.

    Raises:
        ConfigurationError: The keys cannot explain.
    """
    if not callable(getattr(keys, "explain", None)):
        raise ConfigurationError("keys cannot explain; pass an APIKeys")
    try:
        presented = find()
    except AuthenticationError as error:
        return Explanation((Stage("found", Decision.REFUSED, error.code), *_REST))
    if presented is None:
        return Explanation((Stage("found", Decision.REFUSED, "no credential in an enabled place"), *_REST))
    explanation = await cast("_Explaining", keys).explain(
        presented,
        method=method_of(scope),
        path=plain_path(scope),
        address=boundary.client_of(scope),
        origin=origin_of(scope),
        scopes=scopes,
    )
    stages = (_on_trial(stage) if boundary.only_reports(stage.name) else stage for stage in explanation.stages)
    return replace(explanation, stages=(Stage("found", Decision.PASSED), *stages))


def _on_trial(stage: Stage) -> Stage:
    if stage.decision is not Decision.REFUSED:
        return stage
    return replace(stage, decision=Decision.NOTED, detail=f"only reported, would be refused: {stage.detail}")
