"""The main road in one file: wrap an app, issue a key, be let in, revoke it, be refused.

Run it with `make demo`. It keeps serving on 127.0.0.1 until Ctrl-C; with `--once` it stops after the show.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from asgi_apikey import DAY, APIKeyMiddleware, APIKeys


async def whoami(request: Request) -> JSONResponse:
    """Answer with what the middleware found out about the caller."""
    principal = request.state.api_key
    return JSONResponse({"owner": principal.owner, "name": principal.name, "scopes": sorted(principal.scopes)})


async def show(keys: APIKeys, port: int) -> None:
    """Go through the life of a key over real HTTP; a step that does not go as promised ends the demo."""
    print("\n1. No key: refused")
    await expect(401, port)

    issued = await keys.issue(owner="acme", name="ci", scopes={"orders:read"}, expires_in=90 * DAY)
    print(f"\n2. A key for acme, shown this once:\n   {issued.key}")
    print("   let in, and the handler knows who it is:")
    await expect(200, port, issued.key)

    receipt = await keys.revoke(issued.record.key_id, by="demo", reason="the show goes on")
    print(f"\n3. Revoked: confirmed={receipt.confirmed} after {receipt.elapsed * 1000:.2f} ms; the same key:")
    await expect(401, port, issued.key)

    another = await keys.issue(owner="you", name="try me", scopes={"orders:read"})
    print("\nYour turn:")
    print(f"   curl -i http://127.0.0.1:{port}/")
    print(f"   curl -i http://127.0.0.1:{port}/ -H 'X-API-Key: {another.key}'")


async def expect(status: int, port: int, key: str | None = None) -> None:
    """Send one request, print the answer, and insist on its status."""
    answered, body = await asyncio.to_thread(get, port, {} if key is None else {"X-API-Key": key})
    print(f"   GET / -> {answered} {json.dumps(body)}")
    if answered != status:
        sys.exit(f"expected {status}: this is a bug, please report it")


def get(port: int, headers: dict[str, str]) -> tuple[int, object]:
    """Return the status and the JSON body of one GET request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@asynccontextmanager
async def serving(app: APIKeyMiddleware, sock: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Run the app under uvicorn on a bound socket; stop it on the way out."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield task
    finally:
        server.should_exit = True
        await task


async def main(port: int, *, once: bool) -> None:
    """Serve a small protected app, show what it does, and go on serving unless `once`."""
    sock = bound(port)
    port = sock.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="asgi-apikey-demo-") as folder:
        path = Path(folder) / "keys.db"
        keys = APIKeys(f"sqlite:///{path}", pepper=secrets.token_urlsafe(32), single_process=True)
        app = APIKeyMiddleware(Starlette(routes=[Route("/", whoami)]), keys=keys)
        await keys.repository.open(create=True)
        async with keys, serving(app, sock) as server:
            print(f"A Starlette app behind APIKeyMiddleware on http://127.0.0.1:{port}, keys in {path}")
            await show(keys, port)
            if not once:
                print("\nServing until Ctrl-C.", flush=True)
                await server


def bound(port: int) -> socket.socket:
    """Return a loopback socket bound to the port (0: any free one), or explain why that is not possible."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError as error:
        sys.exit(f"port {port} cannot be used ({error.strerror}); choose another one: make demo PORT=8001")
    return sock


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the show")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free port")
    options = parser.parse_args()
    try:
        asyncio.run(main(options.port, once=options.once))
    except KeyboardInterrupt:
        print("\nStopped.")
