"""Where the examples of deploying are, and how to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "docs" / "examples" / "deploy"

DOCKERFILE: Final = DEPLOY / "Dockerfile"
UNIT: Final = DEPLOY / "asgi-apikey.service"
NGINX: Final = DEPLOY / "nginx.conf"
COMPOSE: Final = {name: DEPLOY / f"compose.{name}.yaml" for name in ("dev", "prod")}


def compose(name: str) -> Any:
    """Return a compose file as data, with its anchors resolved."""
    return YAML(typ="safe").load(COMPOSE[name])
