"""What the other applications mount: ASGI and nothing else."""

from __future__ import annotations

import json

from asgi_apikey import get_api_key
from asgi_apikey.asgi.types import Receive, Scope, Send


async def part(scope: Scope, receive: Receive, send: Send) -> None:
    """Say who is calling, or who has connected."""
    if scope["type"] == "lifespan":
        return
    principal = get_api_key(scope)
    assert principal is not None
    text = json.dumps({"owner": principal.owner})
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": 1000})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
