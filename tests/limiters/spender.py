"""One of several processes that send requests with the same key: `python -m tests.limiters.spender URL METERS TIMES`.

Reads the key from its standard input, waits for a line there, sends, and prints how many requests reached the
application, were refused, and could not be decided.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from asgi_apikey import APIKeyMiddleware, APIKeys
from asgi_apikey.asgi.types import Message, Receive, Scope, Send

AT_ONCE = 8


async def main(url: str, meters: str, times: int) -> None:
    """Send so many requests, a few at a time."""
    key = sys.stdin.readline().strip().encode()
    outcomes: Counter[int] = Counter()
    left = times

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            outcomes[message["status"]] += 1

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b""}
            await app(scope | {"headers": [(b"x-api-key", key)]}, receive, send)
            # What is remembered is answered without a pause: let others run.
            await asyncio.sleep(0)

    async with APIKeys(url, pepper=None, meters=meters or None) as keys:
        app = APIKeyMiddleware(inner, keys=keys)
        print("ready", flush=True)
        sys.stdin.readline()
        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    print(outcomes[200], outcomes[429], outcomes[503], flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
